//! Tests payments as providers really send them: failed attempts, several events of one payment, amounts that have to be
//! said, and orders that cost nothing.

use flashsale::{
    checkout::Settings,
    pb::{
        CreateHoldRequest, CreateOrderRequest, CreateProductRequest, HandlePaymentWebhookRequest, OrderStatus,
        PaymentStatus,
    },
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    sale::{bad_fields, event, hold, hold_of, product},
    server::{Sale, default_settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_leaves_the_order_to_the_next_attempt() {
    let sale = Sale::start("a_failed_attempt").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    let clients = sale.clients();
    for (key, first_time) in [("try-1", true), ("try-2", true), ("try-1", false)] {
        let answer = clients.pay(key, order.order_id, PaymentStatus::AttemptFailed).await.unwrap();
        assert_eq!((answer.order_status(), answer.first_time), (OrderStatus::Pending, first_time), "{key}");
        assert!(!answer.refund_required);
    }
    assert_eq!(
        clients.pay("paid", order.order_id, PaymentStatus::Success).await.unwrap().order_status(),
        OrderStatus::Paid
    );
    let late = clients.pay("try-3", order.order_id, PaymentStatus::AttemptFailed).await.unwrap();
    assert_eq!((late.order_status(), late.refund_required), (OrderStatus::Paid, false));
    let stored = clients.pay("try-1", order.order_id, PaymentStatus::AttemptFailed).await.unwrap();
    assert_eq!(stored.order_status(), OrderStatus::Pending, "a repeat gets the stored answer");

    let cancelled = sale.ordered(product_id, 1).await;
    clients.cancel(cancelled.order_id).await.unwrap();
    let answer = clients.pay("too-late", cancelled.order_id, PaymentStatus::AttemptFailed).await.unwrap();
    assert_eq!(answer.order_status(), OrderStatus::Cancelled);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_events_of_one_payment_ask_for_no_refund() {
    let sale = Sale::start("events_of_one_payment").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    let of = |key: &str, payment_id: Option<&str>| HandlePaymentWebhookRequest {
        payment_id: payment_id.map(str::to_owned),
        ..event(key, order.order_id, PaymentStatus::Success, Some(1000))
    };
    for (key, payment_id, refund_required) in [
        ("payment_intent.succeeded", Some("pi_1"), false),
        ("charge.succeeded", Some("pi_1"), false),
        ("checkout.session.completed", Some("pi_1"), false),
        ("another payment", Some("pi_2"), true),
        ("another case", Some("PI_1"), true),
        ("without an id", None, true),
        ("charge.succeeded", Some("pi_1"), false),
    ] {
        let answer = sale.clients().pay_by(of(key, payment_id)).await.unwrap();
        assert_eq!((answer.order_status(), answer.refund_required), (OrderStatus::Paid, refund_required), "{key}");
    }
    assert_eq!(sale.clients().exceptions().await.len(), 3);
    sale.finish().await;
}

/// One batch pays several orders, of which some have a payment_id and some have none.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_keeps_each_orders_own_payment() {
    let sale = Sale::start("payments_of_a_batch").await;
    let product_id = sale.product(100).await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(sale.ordered(product_id, 1).await.order_id);
    }
    for round in ["first", "second"] {
        let calls = orders.iter().enumerate().map(|(index, order_id)| {
            let payment_id = (index % 3 > 0).then(|| format!("pi_{index}"));
            let request = HandlePaymentWebhookRequest {
                payment_id,
                ..event(&format!("{round}-{index}"), *order_id, PaymentStatus::Success, None)
            };
            sale.clients().pay_by(request)
        });
        for (index, answer) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
            let expected = round == "second" && index % 3 == 0;
            assert_eq!(answer.unwrap().refund_required, expected, "{round} {index}");
        }
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_payment_id_is_named_and_stores_nothing() {
    let sale = Sale::start("a_bad_payment_id").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    for payment_id in [String::new(), "x".repeat(256)] {
        let request = HandlePaymentWebhookRequest {
            payment_id: Some(payment_id),
            ..event("k", order.order_id, PaymentStatus::Success, None)
        };
        let refused = sale.clients().pay_by(request).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), ["payment_id"]);
    }
    assert_eq!(sale.order_status(order.order_id).await, "pending");
    sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requires_amounts_takes_no_success_without_one() {
    let sale = Sale::start_with("amounts_are_required", Settings { require_amount: true, ..default_settings() }).await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    let refused = sale.clients().pay("k", order.order_id, PaymentStatus::Success).await;
    let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["amount_cents"]);
    sale.clients().pay("attempt", order.order_id, PaymentStatus::AttemptFailed).await.unwrap();
    let paid = sale.clients().pay_by(event("k", order.order_id, PaymentStatus::Success, Some(1000))).await.unwrap();
    assert_eq!(paid.order_status(), OrderStatus::Paid);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_costs_nothing_is_paid_at_once() {
    let sale = Sale::start("a_free_order").await;
    let request = CreateProductRequest { price_cents: 0, ..product(10) };
    let free = sale.clients().try_create_product(request).await.unwrap().product_id;
    let costly = sale.product(10).await;
    // Both kinds in one batch.
    let mut holds = Vec::new();
    for product_id in [free, costly, free, costly] {
        holds.push(sale.clients().hold(product_id, 2).await.unwrap().hold_id);
    }
    let orders = futures_util::future::join_all(holds.iter().map(|hold_id| sale.clients().order(*hold_id))).await;
    for (order, expected) in orders.into_iter().zip([OrderStatus::Paid, OrderStatus::Pending].into_iter().cycle()) {
        let order = order.unwrap();
        assert_eq!((order.status(), order.settled_at.is_some()), (expected, expected == OrderStatus::Paid));
        assert_eq!(sale.clients().get_order(order.order_id).await.unwrap(), order);
    }
    let order = sale.ordered(free, 1).await;
    assert_refused(sale.clients().cancel(order.order_id).await, Code::FailedPrecondition, "ORDER_PAID");
    let stray = sale.clients().pay("stray", order.order_id, PaymentStatus::Success).await.unwrap();
    assert!(stray.refund_required, "money for an order that costs nothing goes back");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_refused_at_another_price_than_the_buyer_has_seen() {
    let sale = Sale::start("another_price").await;
    let product_id = sale.product(10).await;
    let at = |cents| CreateHoldRequest { expected_unit_price_cents: Some(cents), ..hold(product_id, 1) };
    sale.clients().hold_by(at(1000)).await.unwrap();
    for cents in [0, 999, 1001] {
        let status = assert_refused(sale.clients().hold_by(at(cents)).await, Code::FailedPrecondition, "PRICE_CHANGED");
        assert_eq!(metadata(&status)["unitPriceCents"], "1000");
    }
    let status = assert_refused(sale.clients().hold_by(at(-1)).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["expected_unit_price_cents"]);
    // The product is known to sell: the price is looked at on the optimistic way, too.
    for _ in 0..3 {
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    assert_refused(sale.clients().hold_by(at(1)).await, Code::FailedPrecondition, "PRICE_CHANGED");
    let changed = flashsale::pb::Product { product_id, price_cents: 1500, ..Default::default() };
    sale.clients().update(changed, &["price_cents"]).await.unwrap();
    let status = assert_refused(sale.clients().hold_by(at(1000)).await, Code::FailedPrecondition, "PRICE_CHANGED");
    assert_eq!(metadata(&status)["unitPriceCents"], "1500");
    assert_eq!(sale.clients().hold_by(at(1500)).await.unwrap().unit_price_cents, 1500);
    sale.finish().await;
}

/// The hold keeps its price, so a repeat with the old price is the same request, and one with another price is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_as_the_first_time_whatever_the_price_is_now() {
    let sale = Sale::start("a_repeat_at_another_price").await;
    let product_id = sale.product(10).await;
    let at = |cents| CreateHoldRequest {
        request_id: Some("mine".to_owned()),
        expected_unit_price_cents: cents,
        ..hold(product_id, 1)
    };
    let first = sale.clients().hold_by(at(Some(1000))).await.unwrap();
    let changed = flashsale::pb::Product { product_id, price_cents: 1500, ..Default::default() };
    sale.clients().update(changed, &["price_cents"]).await.unwrap();
    assert_eq!(sale.clients().hold_by(at(Some(1000))).await.unwrap(), first);
    assert_eq!(sale.clients().hold_by(at(None)).await.unwrap(), first);
    assert_refused(sale.clients().hold_by(at(Some(1500))).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_buyers_hold_is_not_found() {
    let sale = Sale::start("another_buyers_hold").await;
    let product_id = sale.product(10).await;
    let held = sale.clients().hold_by(hold_of("ann@example.org", product_id, 1)).await.unwrap();
    let nobodys = sale.clients().hold(product_id, 1).await.unwrap();
    let by = |hold_id, buyer: &str| CreateOrderRequest {
        hold_id,
        buyer_id: Some(buyer.to_owned()),
        request_id: Some("mine".to_owned()),
    };
    for (hold_id, buyer) in [(held.hold_id, "bob"), (held.hold_id, "Ann@example.org"), (nobodys.hold_id, "bob")] {
        assert_refused(sale.clients().order_by(by(hold_id, buyer)).await, Code::NotFound, "HOLD_NOT_FOUND");
    }
    let order = sale.clients().order_by(by(held.hold_id, "ann@example.org")).await.unwrap();
    assert_eq!(order.buyer_id.as_deref(), Some("ann@example.org"));
    assert_eq!(sale.clients().order_by(by(held.hold_id, "ann@example.org")).await.unwrap(), order);
    // Also where the hold is used, and whoever asks with the order's own request_id.
    assert_refused(sale.clients().order_by(by(held.hold_id, "bob")).await, Code::NotFound, "HOLD_NOT_FOUND");
    let status = assert_refused(
        sale.clients().order_by(by(held.hold_id, " ann")).await,
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
    );
    assert_eq!(bad_fields(&status), ["buyer_id"]);
    sale.finish().await;
}

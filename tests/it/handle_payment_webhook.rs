//! Tests HandlePaymentWebhook, one delivery after the other. `races` and `batches` test deliveries at the same moment.

mod keys;
mod matrix;

use flashsale::pb::{HandlePaymentWebhookRequest, OrderStatus, PaymentStatus};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    sale::{bad_fields, event, missing},
    server::Sale,
};

use PaymentStatus::{Failure, Success, Unspecified};

/// An event isn't kept for a future order: ids are sequential, and a stray event would pay a stranger's order.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_event_stores_nothing_and_its_key_then_succeeds() {
    let sale = Sale::start("an_early_event").await;
    let product_id = sale.product(10).await;
    for (order_id, status) in [(1, Success), (2, Failure)] {
        let key = format!("early-{order_id}");
        for _ in 0..2 {
            let refused = sale.clients().pay(&key, order_id, status).await;
            let error = assert_refused(refused, Code::NotFound, "ORDER_NOT_FOUND");
            assert_eq!(metadata(&error)["orderId"], order_id.to_string());
            assert_eq!(missing(&error), ("flashsale.v1.Order".to_owned(), order_id.to_string()));
        }
        assert_eq!(sale.count("payment_webhooks").await, order_id - 1);

        let order = sale.ordered(product_id, 1).await;
        assert_eq!((order.order_id, order.status()), (order_id, OrderStatus::Pending), "nothing was parked");
        assert!(sale.clients().pay(&key, order_id, status).await.unwrap().first_time);
    }
    assert_eq!((sale.order_status(1).await, sale.order_status(2).await), ("paid".to_owned(), "cancelled".to_owned()));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_events_key_can_be_used_for_another_order() {
    let sale = Sale::start("an_early_events_key").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    let unknown = order.order_id + 1;
    assert_refused(sale.clients().pay("k", unknown, Success).await, Code::NotFound, "ORDER_NOT_FOUND");
    assert!(sale.clients().pay("k", order.order_id, Success).await.unwrap().first_time);
    let refused = sale.clients().pay("k", unknown, Success).await;
    assert_refused(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_all_named_and_nothing_is_stored() {
    let sale = Sale::start("bad_fields_of_an_event").await;
    let product_id = sale.product(10).await;
    let id = sale.ordered(product_id, 1).await.order_id;
    let good = event("k", id, Success, None);
    let unknown_status = HandlePaymentWebhookRequest { status: 99, ..good.clone() };
    for (request, fields) in [
        (event("", id, Success, None), vec!["idempotency_key"]),
        (event(&"x".repeat(256), id, Success, None), vec!["idempotency_key"]),
        (event(&"é".repeat(128), id, Success, None), vec!["idempotency_key"]),
        (event("k", 0, Success, None), vec!["order_id"]),
        (event("k", i64::MIN, Success, None), vec!["order_id"]),
        (event("k", id, Unspecified, None), vec!["status"]),
        (unknown_status, vec!["status"]),
        (event("k", id, Success, Some(-1)), vec!["amount_cents"]),
        (event("k", id, Failure, Some(i64::MIN)), vec!["amount_cents"]),
        (event("", -1, Unspecified, Some(-1)), vec!["idempotency_key", "order_id", "status", "amount_cents"]),
    ] {
        let refused = sale.clients().pay_by(request.clone()).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields, "{request:?}");
    }
    assert_eq!((sale.count("payment_webhooks").await, sale.order_status(id).await), (0, "pending".to_owned()));
    assert!(sale.clients().pay_by(good).await.unwrap().first_time);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_payment_gives_the_stock_back_once_and_can_be_sold_again() {
    let sale = Sale::start("a_failed_payment").await;
    let product_id = sale.product(3).await;
    let order = sale.ordered(product_id, 3).await;
    for key in ["one", "two", "one"] {
        let answer = sale.clients().pay(key, order.order_id, Failure).await.unwrap();
        assert_eq!(answer.order_status(), OrderStatus::Cancelled);
        assert_eq!(sale.stock(product_id).await, 3);
        assert_eq!(sale.hold_status(order.hold_id).await, "cancelled");
    }
    let other = sale.ordered(product_id, 3).await;
    sale.clients().pay("three", order.order_id, Failure).await.unwrap();
    assert_eq!((sale.stock(product_id).await, sale.order_status(other.order_id).await), (0, "pending".to_owned()));
    sale.finish().await;
}

/// An order goes from pending to paid or from pending to cancelled, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_from_pending_to_paid_or_to_cancelled_and_nowhere_else() {
    let sale = Sale::start("pending_to_paid_or_cancelled").await;
    let product_id = sale.product(10).await;
    for (first, stays) in [(Success, "paid"), (Failure, "cancelled")] {
        let order = sale.ordered(product_id, 1).await;
        sale.clients().pay(&format!("{stays}-first"), order.order_id, first).await.unwrap();
        for (number, status) in [Success, Failure, Success, Failure].into_iter().enumerate() {
            sale.clients().pay(&format!("{stays}-{number}"), order.order_id, status).await.unwrap();
            assert_eq!(sale.order_status(order.order_id).await, stays);
        }
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_after_a_mismatch_pays_the_order() {
    let sale = Sale::start("a_success_after_a_mismatch").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 2).await;
    let answer = sale.clients().pay_by(event("half", order.order_id, Success, Some(1000))).await.unwrap();
    assert_eq!((answer.order_status(), answer.refund_required), (OrderStatus::Pending, true));
    let answer = sale.clients().pay_by(event("whole", order.order_id, Success, Some(2000))).await.unwrap();
    assert_eq!((answer.order_status(), answer.refund_required), (OrderStatus::Paid, false));

    let again = sale.clients().pay_by(event("half", order.order_id, Success, Some(2000))).await.unwrap();
    assert_eq!((again.order_status(), again.refund_required), (OrderStatus::Pending, true), "as the first time");
    assert!(!again.first_time);
    sale.finish().await;
}

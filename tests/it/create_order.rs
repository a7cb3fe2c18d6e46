//! Tests CreateOrder, one call after the other. `clock` tests it exactly at `expires_at`.

use std::time::{Duration, UNIX_EPOCH};

use flashsale::{
    checkout::{Settings, cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    pb::{CreateOrderRequest, Order, OrderStatus, PaymentStatus},
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    sale::{bad_fields, hold_of, missing, repeatable_order},
    server::{Sale, default_settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_takes_over_what_its_hold_held() {
    let sale = Sale::start("an_order_takes_over").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    let order = sale.clients().order(hold.hold_id).await.unwrap();
    assert_eq!((order.hold_id, order.product_id, order.qty), (hold.hold_id, product_id, 3));
    assert_eq!((order.amount_cents, order.status()), (3000, OrderStatus::Pending));
    assert_eq!((sale.stock(product_id).await, sale.hold_status(hold.hold_id).await), (7, "used".to_owned()));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_due_after_the_configured_time_or_never() {
    for (payment_due, expected) in [
        (default_settings().payment_due, "1800000000"),
        (Some(Duration::from_millis(7_001)), "7001000"),
        (None, "NULL"),
    ] {
        let sale = Sale::start_with("an_order_is_due", Settings { payment_due, ..default_settings() }).await;
        let product_id = sale.product(10).await;
        let order = sale.ordered(product_id, 1).await;
        assert_eq!(order.payment_due_at.is_some(), payment_due.is_some());
        assert_eq!(sale.clients().get_order(order.order_id).await.unwrap().payment_due_at, order.payment_due_at);
        let due = "SELECT TIMESTAMPDIFF(MICROSECOND, created_at, payment_due_at) FROM orders";
        assert_eq!(sale.database.query_rows(due).await, [[expected]]);
        let swept = cancel_overdue_orders(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
        assert_eq!(swept.rows, 0, "none is overdue");
        sale.finish().await;
    }
}

/// A hold past expires_at can't become an order, swept or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_past_expires_at_cannot_become_an_order_swept_or_not() {
    let sale = Sale::start("a_hold_past_expires_at").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    let expires_in = async |seconds: i32| {
        let sql = format!("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND");
        sale.database.move_times(&sql).await;
    };
    expires_in(-1).await;
    let refused = sale.clients().order(hold.hold_id).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "HOLD_EXPIRED");
    assert_eq!(metadata(&status)["holdId"], hold.hold_id.to_string());
    assert_eq!((sale.hold_status(hold.hold_id).await, sale.count("orders").await), ("active".to_owned(), 0));

    expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
    assert_refused(sale.clients().order(hold.hold_id).await, Code::FailedPrecondition, "HOLD_EXPIRED");
    expires_in(60).await;
    assert_refused(sale.clients().order(hold.hold_id).await, Code::FailedPrecondition, "HOLD_EXPIRED");
    assert_eq!((sale.stock(product_id).await, sale.count("orders").await), (10, 0));

    let in_time = sale.clients().hold(product_id, 3).await.unwrap();
    expires_in(30).await;
    sale.clients().order(in_time.hold_id).await.unwrap();
    sale.database.move_times("UPDATE holds SET expires_at = created_at WHERE status = 'expired'").await;
    sale.finish().await;
}

/// `now` is the database's clock when the hold's lock is got, not when it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_expires_while_its_order_waits_for_the_lock_is_refused() {
    let (sale, proxy) = Sale::start_behind_proxy("a_hold_expires_during_the_wait").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    let mut holder = sale.database.lock_rows("holds").await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let ordering = tokio::spawn(async move { clients.order(hold.hold_id).await });
    proxy.wait_for_commit_after(before).await;
    holder.execute("UPDATE holds SET expires_at = UTC_TIMESTAMP(6)").await;
    holder.execute("COMMIT").await;
    assert_refused(ordering.await.unwrap(), Code::FailedPrecondition, "HOLD_EXPIRED");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_hold_cannot_become_an_order() {
    let sale = Sale::start("a_released_hold").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    sale.clients().release(hold.hold_id).await.unwrap();
    let refused = sale.clients().order_by(repeatable_order(hold.hold_id, "r")).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "HOLD_CANCELLED");
    assert_eq!(metadata(&status)["holdId"], hold.hold_id.to_string());
    assert_eq!(sale.count("orders").await, 0);
    sale.finish().await;
}

/// A hold makes at most one order, ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_makes_one_order_whatever_became_of_it() {
    let sale = Sale::start("a_hold_makes_one_order").await;
    let product_id = sale.product(10).await;
    for payment in [None, Some(PaymentStatus::Success), Some(PaymentStatus::Failure)] {
        let hold = sale.clients().hold(product_id, 1).await.unwrap();
        let order = sale.clients().order_by(repeatable_order(hold.hold_id, "r")).await.unwrap();
        if let Some(payment) = payment {
            sale.clients().pay(payment.as_str_name(), order.order_id, payment).await.unwrap();
        }
        let anonymous = CreateOrderRequest { hold_id: hold.hold_id, request_id: None, ..Default::default() };
        for other in [anonymous, repeatable_order(hold.hold_id, "s"), repeatable_order(hold.hold_id, "R")] {
            let refused = sale.clients().order_by(other).await;
            let status = assert_refused(refused, Code::FailedPrecondition, "HOLD_USED");
            assert_eq!(metadata(&status)["orderId"], order.order_id.to_string());
            assert_eq!(metadata(&status)["holdId"], hold.hold_id.to_string());
        }
        assert_eq!(sale.count(&format!("orders WHERE hold_id = {}", hold.hold_id)).await, 1);
    }
    sale.finish().await;
}

/// A repeat of CreateOrder with the same request_id returns the first result.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_the_same_request_id_returns_the_first_order_as_it_is_now() {
    let sale = Sale::start("a_repeat_returns_the_first_order").await;
    let product_id = sale.product(10).await;
    for (payment, settled) in
        [(PaymentStatus::Success, OrderStatus::Paid), (PaymentStatus::Failure, OrderStatus::Cancelled)]
    {
        let hold = sale.clients().hold(product_id, 2).await.unwrap();
        let request = repeatable_order(hold.hold_id, "r");
        let first = sale.clients().order_by(request.clone()).await.unwrap();
        assert_eq!(sale.clients().order_by(request.clone()).await.unwrap(), first);
        sale.database.move_times("UPDATE holds SET expires_at = '2000-01-01' WHERE status = 'used'").await;
        assert_eq!(sale.clients().order_by(request.clone()).await.unwrap(), first, "past the hold's time");
        sale.clients().pay(payment.as_str_name(), first.order_id, payment).await.unwrap();
        let now = sale.clients().order_by(request).await.unwrap();
        assert!(now.settled_at.is_some());
        assert_eq!(now, Order { status: settled.into(), settled_at: now.settled_at, ..first }, "after {payment:?}");
    }
    assert_eq!((sale.count("orders").await, sale.stock(product_id).await), (2, 8));
    sale.finish().await;
}

/// request_id is unique for the orders of one hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_one_holds() {
    let sale = Sale::start("a_request_id_is_one_holds").await;
    let product_id = sale.product(10).await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let hold = sale.clients().hold(product_id, 1).await.unwrap();
        orders.push(sale.clients().order_by(repeatable_order(hold.hold_id, "r")).await.unwrap().order_id);
    }
    assert_ne!(orders[0], orders[1]);
    sale.finish().await;
}

/// SALE_* and BUYER_LIMIT refuse CreateHold only: a hold that was made in time can still become an order.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_made_in_time_becomes_an_order_whatever_became_of_the_sale() {
    let sale = Sale::start("a_hold_made_in_time").await;
    for change in ["paused = TRUE", "starts_at = '2100-01-01'", "ends_at = '2000-01-01'", "max_per_buyer = 1"] {
        let product_id = sale.product(2).await;
        let hold = sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
        sale.database.execute(&format!("UPDATE products SET {change} WHERE id = {product_id}")).await;
        let ordered = sale.clients().order(hold.hold_id).await;
        ordered.unwrap_or_else(|status| panic!("after {change}: {status:?}"));
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_and_unknown_holds_make_no_order() {
    let sale = Sale::start("bad_fields_of_an_order").await;
    let too_long = "x".repeat(256);
    for (request, fields) in [
        (repeatable_order(0, "r"), vec!["hold_id"]),
        (repeatable_order(1, ""), vec!["request_id"]),
        (repeatable_order(1, &too_long), vec!["request_id"]),
        (repeatable_order(1, "ö\n"), vec!["request_id"]),
        (repeatable_order(-1, " "), vec!["hold_id", "request_id"]),
    ] {
        let refused = sale.clients().order_by(request).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields);
    }
    let status = assert_refused(sale.clients().order(1).await, Code::NotFound, "HOLD_NOT_FOUND");
    assert_eq!(metadata(&status)["holdId"], "1");
    assert_eq!(missing(&status), ("flashsale.v1.Hold".to_owned(), "1".to_owned()));
    assert_eq!(sale.count("orders").await, 0);
    sale.finish().await;
}

//! Covers unique keys that another session has locked: an INSERT waits for them, and no error names the key.

use flashsale::pb::{HandlePaymentWebhookRequest, PaymentStatus};
use futures_util::future::join_all;

use super::assert_told;
use crate::support::{sale::repeatable_hold, server::Sale};

/// The event's order is still pending, so the service doesn't look for its key first.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_event_that_somebody_has_locked_fails_no_other_and_is_answered_as_before() {
    let sale = Sale::start("busy_event").await;
    let (clients, product_id) = (sale.clients(), sale.product(100).await);
    let order_id = sale.ordered(product_id, 1).await.order_id;
    let wrong_amount = HandlePaymentWebhookRequest {
        idempotency_key: "locked".to_owned(),
        order_id,
        status: PaymentStatus::Success.into(),
        amount_cents: Some(1),
        ..Default::default()
    };
    assert!(clients.pay_by(wrong_amount.clone()).await.unwrap().refund_required);
    let mut holder = sale.database.lock_rows("payment_webhooks WHERE idempotency_key = 'locked'").await;
    for round in 0..3 {
        let mut orders = Vec::new();
        for _ in 0..10 {
            orders.push(sale.ordered(product_id, 1).await.order_id);
        }
        let others = join_all(
            orders.iter().map(async |id| clients.pay(&format!("{round} {id}"), *id, PaymentStatus::Success).await),
        );
        let (repeated, others) = tokio::join!(clients.pay_by(wrong_amount.clone()), others);
        let repeated = repeated.unwrap();
        assert!(!repeated.first_time && repeated.refund_required);
        assert!(others.into_iter().all(|paid| paid.unwrap().first_time), "round {round}");
    }
    holder.execute("ROLLBACK").await;
    sale.finish().await;
}

/// The other session's INSERT isn't committed, so nobody knows yet how it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_event_that_somebody_is_storing_is_told_and_fails_no_other() {
    let sale = Sale::start("event_being_stored").await;
    let (clients, product_id) = (sale.clients(), sale.product(10).await);
    let (one, other) = (sale.ordered(product_id, 1).await.order_id, sale.ordered(product_id, 1).await.order_id);
    let mut storing = sale.database.connect().await;
    storing.execute("BEGIN").await;
    let insert = format!(
        "INSERT INTO payment_webhooks (idempotency_key, order_id, product_id, status, order_status, result, created_at) \
        VALUES ('k', {one}, {product_id}, 'success', 'paid', 'applied', UTC_TIMESTAMP(6))"
    );
    storing.execute(&insert).await;
    let told = assert_told(clients.pay("k", one, PaymentStatus::Success));
    let (_told, paid) = tokio::join!(told, clients.pay("other", other, PaymentStatus::Success));
    paid.unwrap();
    storing.execute("ROLLBACK").await;
    assert!(clients.pay("k", one, PaymentStatus::Success).await.unwrap().first_time);
    sale.finish().await;
}

/// The product is known to sell, so its holds are one script, which would wait for the key with the product locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_somebody_has_locked_by_its_request_is_replayed() {
    let sale = Sale::start("busy_request").await;
    let (clients, product_id) = (sale.clients(), sale.product(100).await);
    let request = repeatable_hold(product_id, 1, "locked");
    let hold = clients.hold_by(request.clone()).await.unwrap();
    let locked = format!("holds WHERE product_id = {product_id} AND request_id = 'locked'");
    let mut holder = sale.database.lock_rows(&locked).await;
    for _ in 0..3 {
        let others = join_all((0..10).map(|_| clients.hold(product_id, 1)));
        let (repeated, others) = tokio::join!(clients.hold_by(request.clone()), others);
        assert_eq!(repeated.unwrap(), hold);
        assert!(others.iter().all(Result::is_ok), "{others:?}");
    }
    holder.execute("ROLLBACK").await;
    sale.finish().await;
}

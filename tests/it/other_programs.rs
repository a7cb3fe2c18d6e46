//! A call meets another program's transaction on the same rows, and decides on what that program left there.

use std::time::Duration;

use flashsale::pb::{
    CreateProductRequest, HandlePaymentWebhookResponse, Hold, HoldStatus as HoldState, Order,
    OrderStatus as OrderState, PaymentStatus,
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    database::RawConnection,
    proxy::{Counts, Proxy},
    sale::{product, repeatable_hold},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Begins another program's transaction, which locks the rows that it changes.
async fn other_program(sale: &Sale, statements: &[&str]) -> RawConnection {
    let mut other = sale.database.connect().await;
    other.execute("BEGIN").await;
    for statement in statements {
        other.execute(statement).await;
    }
    other
}

/// Commits the other program's transaction as soon as a call waits for it.
async fn commit_when_waited_for(sale: &Sale, mut other: RawConnection) {
    wait::eventually(LIMIT, "the call to wait", async || sale.database.waiting_transactions().await == 1).await;
    other.execute("COMMIT").await;
    other.close().await;
}

/// Commits the other program's transaction as soon as a call has found its row locked.
async fn commit_when_looked_at(proxy: &Proxy, before: Counts, mut other: RawConnection) {
    proxy.wait_for_commit_after(before).await;
    other.execute("COMMIT").await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_decided_on_what_another_program_left() {
    let sale = Sale::start("a_hold_waits_for_the_product").await;
    let product_id = sale.product(3).await;
    let statements = [
        "UPDATE products SET available_stock = available_stock - 2",
        "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id)
         SELECT id, 2, price_cents, '2100-01-01', UTC_TIMESTAMP(6), 'other' FROM products",
    ];
    let other = other_program(&sale, &statements).await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.hold(product_id, 2).await });
    commit_when_waited_for(&sale, other).await;
    let status = assert_refused(call.await.unwrap(), Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "1");
    sale.finish().await;
}

const CANCEL_HOLD: [&str; 2] =
    ["UPDATE holds SET status = 'cancelled'", "UPDATE products SET available_stock = available_stock + 1"];

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_decided_on_what_another_program_left() {
    let (sale, proxy) = Sale::start_behind_proxy("an_order_waits_for_the_hold").await;
    let product_id = sale.product(3).await;
    let Hold { hold_id, .. } = sale.clients().hold(product_id, 1).await.unwrap();
    let other = other_program(&sale, &CANCEL_HOLD).await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.order(hold_id).await });
    commit_when_looked_at(&proxy, before, other).await;
    assert_refused(call.await.unwrap(), Code::FailedPrecondition, "HOLD_CANCELLED");
    assert_eq!(sale.stock(product_id).await, 3);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_decided_on_what_another_program_left() {
    let (sale, proxy) = Sale::start_behind_proxy("a_release_waits_for_the_hold").await;
    let product_id = sale.product(3).await;
    let Hold { hold_id, .. } = sale.clients().hold(product_id, 1).await.unwrap();
    let other = other_program(&sale, &CANCEL_HOLD).await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.release(hold_id).await });
    commit_when_looked_at(&proxy, before, other).await;
    assert_eq!(call.await.unwrap().unwrap().status(), HoldState::Cancelled);
    assert_eq!(sale.stock(product_id).await, 3);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_decided_on_what_another_program_left() {
    let (sale, proxy) = Sale::start_behind_proxy("a_payment_waits_for_the_order").await;
    let product_id = sale.product(3).await;
    let Order { order_id, .. } = sale.ordered(product_id, 1).await;
    let cancel =
        ["UPDATE orders SET status = 'cancelled', payment_due_at = created_at", CANCEL_HOLD[0], CANCEL_HOLD[1]];
    let other = other_program(&sale, &cancel).await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.pay("k", order_id, PaymentStatus::Success).await });
    commit_when_looked_at(&proxy, before, other).await;
    let late = call.await.unwrap().unwrap();
    assert_eq!((late.order_status(), late.refund_required), (OrderState::Cancelled, true));
    assert_eq!(sale.stock(product_id).await, 3);
    sale.finish().await;
}

/// The unique key makes the call wait, and shows it the other program's hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_that_another_program_takes_meanwhile_is_replayed() {
    let sale = Sale::start("a_request_id_is_taken_meanwhile").await;
    let product_id = sale.product(3).await;
    // The product isn't locked, so that the call waits for the unique key.
    let insert = format!(
        "INSERT INTO holds (product_id, qty, unit_price_cents, status, expires_at, created_at, request_id)
         VALUES ({product_id}, 1, 1000, 'expired', '2000-01-01', '2000-01-01', 'r')"
    );
    let other = other_program(&sale, &[&insert]).await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.hold_by(repeatable_hold(product_id, 1, "r")).await });
    commit_when_waited_for(&sale, other).await;
    let replayed = call.await.unwrap().unwrap();
    assert_eq!(replayed.created_at.unwrap().seconds, 946_684_800, "the hold has to be the other program's");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (3, 1));
    sale.finish().await;
}

/// The unique key makes the call wait, and shows it the other program's product.
#[tokio::test(flavor = "multi_thread")]
async fn a_products_request_id_that_another_program_takes_meanwhile_is_replayed() {
    let sale = Sale::start("a_products_request_id_is_taken").await;
    let request = CreateProductRequest { request_id: Some("r".to_owned()), ..product(3) };
    let first = sale.clients().try_create_product(request.clone()).await.unwrap();
    sale.database.execute("UPDATE products SET request_id = 'not yet'").await;
    let other = other_program(&sale, &["UPDATE products SET request_id = 'r'"]).await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.try_create_product(request).await });
    commit_when_waited_for(&sale, other).await;
    assert_eq!(call.await.unwrap().unwrap(), first);
    assert_eq!(sale.count("products").await, 1);
    sale.finish().await;
}

/// The unique key makes the call wait, and shows it the other program's event.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_key_another_program_stores_meanwhile_gets_the_stored_answer() {
    let sale = Sale::start("a_key_is_taken_meanwhile").await;
    let product_id = sale.product(3).await;
    let (one, two) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    for (key, order_id) in [("same order", one.order_id), ("other order", two.order_id)] {
        let insert = format!(
            "INSERT INTO payment_webhooks
                (idempotency_key, order_id, product_id, status, amount_cents, order_status, result, created_at)
             VALUES ('{key}', {}, {product_id}, 'success', 1, 'pending', 'amount_mismatch', UTC_TIMESTAMP(6))",
            one.order_id
        );
        let exception = "INSERT IGNORE INTO payment_exceptions
                (kind, order_id, product_id, idempotency_key, amount_cents, created_at)
            SELECT result, order_id, product_id, idempotency_key, amount_cents, created_at FROM payment_webhooks";
        let other = other_program(&sale, &[&insert, exception]).await;
        let clients = sale.clients().clone();
        let call = tokio::spawn(async move { clients.pay(key, order_id, PaymentStatus::Success).await });
        commit_when_waited_for(&sale, other).await;
        let answer = call.await.unwrap();
        if order_id == two.order_id {
            assert_refused(answer, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
            continue;
        }
        let HandlePaymentWebhookResponse { first_time, refund_required, .. } = answer.unwrap();
        assert_eq!((first_time, refund_required), (false, true), "the answer has to be the other program's");
    }
    assert_eq!(sale.count("orders WHERE status = 'pending'").await, 2);
    assert_eq!(sale.count("payment_webhooks").await, 2);
    sale.finish().await;
}

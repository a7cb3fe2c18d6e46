//! Shows that a locked row delays only the calls for that row, and that these are refused in time.

mod keys;
mod products;

use std::time::{Duration, Instant};

use flashsale::{checkout::Settings, pb::PaymentStatus};
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::support::{
    client::assert_refused,
    server::{Sale, TestServer, default_settings},
};

/// The service promises this time, which ends before the gateway's 5 s.
const TOLD_WITHIN: Duration = Duration::from_secs(4);

/// Fails the test unless a call for a locked row is refused with LOCK_CONTENTION in time.
async fn assert_told<T: std::fmt::Debug>(call: impl Future<Output = Result<T, Status>>) {
    let began = Instant::now();
    assert_refused(call.await, Code::Unavailable, "LOCK_CONTENTION");
    assert!(began.elapsed() < TOLD_WITHIN, "{:?}", began.elapsed());
}

/// Runs calls for locked rows, which are refused, and a call for another row, which is done before that.
async fn assert_passed_by<T: std::fmt::Debug, U>(
    busy: Vec<impl Future<Output = Result<T, Status>>>,
    other: impl Future<Output = U>,
) -> U {
    let mut busy = Box::pin(join_all(busy.into_iter().map(assert_told)));
    let other = tokio::select! {
        biased;
        _ = &mut busy => panic!("those whose rows are locked were answered before the other"),
        other = other => other,
    };
    busy.await;
    other
}

/// Returns a condition for these rows by their keys: a range would lock the rows beside them, too.
fn one_by_one(table: &str, ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("{table} FORCE INDEX (PRIMARY) WHERE id IN ({})", ids.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_a_locked_order_holds_up_no_other_and_counts_once_it_is_free() {
    let sale = Sale::start("busy_order").await;
    let product_id = sale.product(10).await;
    let (locked, other) = (sale.ordered(product_id, 1).await.order_id, sale.ordered(product_id, 1).await.order_id);
    let mut holder = sale.database.lock_rows(&format!("orders WHERE id = {locked}")).await;
    for status in [PaymentStatus::Success, PaymentStatus::Failure] {
        // The same event comes again and again, as a provider sends it, in the same batch as the other order's.
        let events = (0..20).map(|_| sale.clients().pay("locked", locked, status)).collect();
        let key = format!("other {status:?}");
        assert_passed_by(events, sale.clients().pay(&key, other, PaymentStatus::Success)).await.unwrap();
    }
    let freed = async {
        holder.execute("ROLLBACK").await;
    };
    let (paid, ()) = tokio::join!(sale.clients().pay("locked", locked, PaymentStatus::Success), freed);
    assert!(paid.unwrap().first_time);
    assert_eq!((sale.order_status(locked).await, sale.order_status(other).await), ("paid".into(), "paid".into()));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_and_a_release_of_a_locked_hold_hold_up_no_other() {
    let sale = Sale::start("busy_hold").await;
    let (clients, product_id) = (sale.clients(), sale.product(10).await);
    let mut holds = Vec::new();
    for _ in 0..4 {
        holds.push(clients.hold(product_id, 1).await.unwrap().hold_id);
    }
    let mut holder = sale.database.lock_rows(&format!("holds WHERE id = {}", holds[0])).await;
    assert_passed_by((0..5).map(|_| clients.order(holds[0])).collect(), clients.order(holds[1])).await.unwrap();
    assert_passed_by((0..5).map(|_| clients.release(holds[0])).collect(), clients.release(holds[2])).await.unwrap();
    // A failed payment cancels the order's hold, too.
    let order_id = clients.order(holds[3]).await.unwrap().order_id;
    let mut of_order = sale.database.lock_rows(&format!("holds WHERE id = {}", holds[3])).await;
    let other = sale.ordered(product_id, 1).await.order_id;
    let failed = vec![clients.pay("failed", order_id, PaymentStatus::Failure)];
    assert_passed_by(failed, clients.pay("other", other, PaymentStatus::Failure)).await.unwrap();
    of_order.execute("ROLLBACK").await;
    holder.execute("ROLLBACK").await;
    clients.order(holds[0]).await.unwrap();
    clients.pay("failed", order_id, PaymentStatus::Failure).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_of_a_locked_order_or_hold_or_product_holds_up_no_other() {
    let sale = Sale::start("busy_cancellation").await;
    let (clients, product_id, other_product) = (sale.clients(), sale.product(10).await, sale.product(10).await);
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(sale.ordered(product_id, 1).await);
    }
    for rows in [
        format!("orders WHERE id = {}", orders[0].order_id),
        format!("holds WHERE id = {}", orders[0].hold_id),
        format!("products WHERE id = {product_id}"),
    ] {
        let other = sale.ordered(other_product, 1).await.order_id;
        let mut holder = sale.database.lock_rows(&rows).await;
        let busy = (0..5).map(|_| clients.cancel(orders[0].order_id)).collect();
        assert_passed_by(busy, clients.cancel(other)).await.unwrap();
        holder.execute("ROLLBACK").await;
    }
    clients.cancel(orders[0].order_id).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 8);
    sale.finish().await;
}

/// A call that waits for a row holds no connection of the pool.
#[tokio::test(flavor = "multi_thread")]
async fn forty_locked_orders_leave_a_pool_of_four_to_the_others() {
    let sale = Sale::start("busy_orders").await;
    let small = TestServer::start_with_pool(&sale.database.url(), 4, default_settings()).await;
    let product_id = sale.product(100).await;
    let mut locked = Vec::new();
    for _ in 0..40 {
        locked.push(sale.ordered(product_id, 1).await.order_id);
    }
    let other = sale.ordered(product_id, 1).await.order_id;
    let mut holder = sale.database.lock_rows(&one_by_one("orders", &locked)).await;
    let clients = &small.clients;
    let events = locked.iter().map(async |id| clients.pay(&format!("key {id}"), *id, PaymentStatus::Success).await);
    let others = async {
        clients.pay("other", other, PaymentStatus::Success).await.unwrap();
        clients.hold(product_id, 1).await.unwrap();
    };
    assert_passed_by(events.collect(), others).await;
    holder.execute("ROLLBACK").await;
    small.stop().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_may_wait_for_locked_rows_are_overloaded() {
    let sale = Sale::start_with("busy_bounded", Settings { lane_queue: 3, ..default_settings() }).await;
    let product_id = sale.product(10).await;
    let mut orders = Vec::new();
    for _ in 0..8 {
        orders.push(sale.ordered(product_id, 1).await.order_id);
    }
    let mut holder = sale.database.lock_rows("orders").await;
    let pay = async |id: i64| sale.clients().pay(&format!("key {id}"), id, PaymentStatus::Success).await;
    let answers = join_all(orders.iter().map(|id| pay(*id))).await;
    let (told, overloaded): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.as_ref().is_err_and(|status| status.code() == Code::Unavailable));
    for answer in told {
        assert_refused(answer, Code::Unavailable, "LOCK_CONTENTION");
    }
    assert!(overloaded.len() >= 2, "{} of 8 with room for 2 of a caller in the lane and 2 beside it", overloaded.len());
    for answer in overloaded {
        assert_refused(answer, Code::ResourceExhausted, "OVERLOADED");
    }
    holder.execute("ROLLBACK").await;
    pay(orders[0]).await.unwrap();
    sale.finish().await;
}

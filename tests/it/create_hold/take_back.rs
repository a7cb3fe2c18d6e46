//! Rule 9: if the sweeper is dead, rows stay untidy, but no sale is lost.

use std::time::UNIX_EPOCH;

use flashsale::{checkout::expire_holds::expire_holds, pb::HoldStatus};
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata},
    sale::repeatable_hold,
    server::Sale,
};

/// Ends the time of one hold.
async fn expire(sale: &Sale, hold_id: i64) {
    let sql = format!("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id = {hold_id}");
    sale.database.move_times(&sql).await;
}

/// Rule 9: when stock runs short, CreateHold takes back that product's expired holds in its own transaction.
#[tokio::test(flavor = "multi_thread")]
async fn when_stock_runs_short_a_hold_takes_back_expired_ones_without_any_sweeper() {
    let sale = Sale::start("a_hold_takes_back").await;
    let product_id = sale.product(5).await;
    let first = sale.clients().hold(product_id, 2).await.unwrap();
    let second = sale.clients().hold(product_id, 3).await.unwrap();
    sale.expire_all_holds().await;

    sale.clients().hold(product_id, 5).await.unwrap();
    for hold_id in [first.hold_id, second.hold_id] {
        assert_eq!(sale.hold_status(hold_id).await, "expired");
    }
    assert_eq!(sale.stock(product_id).await, 0);
    assert_eq!(
        expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap().rows,
        0,
        "there is nothing left to sweep"
    );
    assert_eq!(sale.stock(product_id).await, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_more_is_granted_than_came_back() {
    let sale = Sale::start("not_more_than_came_back").await;
    let product_id = sale.product(5).await;
    let expired = sale.clients().hold(product_id, 2).await.unwrap();
    let active = sale.clients().hold(product_id, 3).await.unwrap();
    expire(&sale, expired.hold_id).await;

    let refused = sale.clients().hold(product_id, 3).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "2", "what came back");
    sale.clients().hold(product_id, 2).await.unwrap();
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(sale.hold_status(active.hold_id).await, "active");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_products_own_expired_holds_are_taken_back() {
    let sale = Sale::start("only_its_own_are_taken_back").await;
    let (one, other) = (sale.product(1).await, sale.product(1).await);
    let of_other = sale.clients().hold(other, 1).await.unwrap();
    sale.clients().hold(one, 1).await.unwrap();
    expire(&sale, of_other.hold_id).await;

    assert_refused(sale.clients().hold(one, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(sale.hold_status(of_other.hold_id).await, "active");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_holds_are_left_to_the_sweeper_while_there_is_enough() {
    let sale = Sale::start("enough_takes_nothing_back").await;
    let product_id = sale.product(2).await;
    let expired = sale.clients().hold(product_id, 1).await.unwrap();
    sale.expire_all_holds().await;
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.hold_status(expired.hold_id).await, "active");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_expired_holds_as_it_takes_are_taken_back() {
    let sale = Sale::start("many_are_taken_back").await;
    let product_id = sale.product(250).await;
    let clients = sale.clients().clone();
    let held = at_once(250, |_| {
        let clients = clients.clone();
        async move { clients.hold(product_id, 1).await }
    });
    assert!(held.await.iter().all(Result::is_ok));
    sale.expire_all_holds().await;

    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.count("holds WHERE status = 'expired'").await, 100, "a few more, so that the next isn't short");
    assert_eq!(sale.stored_stock(product_id).await, 99);
    sale.clients().hold(product_id, 249).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_hold_that_somebody_has_locked_is_not_waited_for() {
    let sale = Sale::start("a_locked_hold_is_not_waited_for").await;
    let product_id = sale.product(2).await;
    let locked = sale.clients().hold(product_id, 1).await.unwrap();
    let free = sale.clients().hold(product_id, 1).await.unwrap();
    sale.expire_all_holds().await;
    let mut holder = sale.database.lock_rows(&format!("holds WHERE id = {}", locked.hold_id)).await;

    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.hold_status(free.hold_id).await, "expired");
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    holder.execute("ROLLBACK").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_whose_hold_is_taken_back_is_still_replayed() {
    let sale = Sale::start("a_taken_back_hold_is_replayed").await;
    let product_id = sale.product(1).await;
    let first = sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await.unwrap();
    sale.expire_all_holds().await;
    sale.clients().hold(product_id, 1).await.unwrap();
    let again = sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await.unwrap();
    assert_eq!((again.hold_id, again.status()), (first.hold_id, HoldStatus::Expired));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_expired_holds_than_one_transaction_takes_back_are_all_there_to_be_sold() {
    let sale = Sale::start("more_than_one_transaction").await;
    let product_id = sale.with_expired_holds(15_625).await;
    sale.clients().hold(product_id, 15_625).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 0);
    assert_eq!(sale.count("holds WHERE status = 'active'").await, 1);
    sale.finish().await;
}

/// An order may still be paid. A hold can't be paid.
#[tokio::test(flavor = "multi_thread")]
async fn no_order_is_cancelled_while_there_are_expired_holds() {
    let sale = Sale::start("holds_before_orders").await;
    let product_id = sale.with_expired_holds(15_625).await;
    sale.database.execute("UPDATE products SET total_stock = 15626, available_stock = 1").await;
    let order = sale.ordered(product_id, 1).await;
    sale.let_all_orders_be_overdue().await;
    sale.clients().hold(product_id, 15_625).await.unwrap();
    assert_eq!(sale.order_status(order.order_id).await, "pending");
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.order_status(order.order_id).await, "cancelled");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_transactions_took_back_is_given_back_also_where_it_is_not_enough() {
    let sale = Sale::start("several_and_not_enough").await;
    let product_id = sale.with_expired_holds(15_625).await;
    let refused = sale.clients().hold(product_id, 15_626).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "15625");
    assert_eq!(sale.stored_stock(product_id).await, 15_625);
    sale.finish().await;
}

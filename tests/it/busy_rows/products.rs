//! Covers products that another session has locked.

use std::{thread::available_parallelism, time::Duration};

use flashsale::pb::PaymentStatus;
use tokio::time::timeout;

use super::{assert_passed_by, assert_told, one_by_one};
use crate::support::server::Sale;

/// A free product sells in milliseconds; the limit is for a machine that runs other tests meanwhile.
const SOON: Duration = Duration::from_secs(1);

/// More products than there are cores, turns and connections.
fn many() -> usize {
    available_parallelism().map_or(1, usize::from) + 40
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_products_take_neither_turns_nor_connections_from_the_others() {
    let sale = Sale::start("busy_products").await;
    let clients = sale.clients();
    let other = sale.product(100).await;
    let mut locked = Vec::new();
    for _ in 0..many() {
        locked.push(sale.product(10).await);
    }
    // Half of them are known to sell, and are sold optimistically.
    for product_id in &locked[..locked.len() / 2] {
        clients.hold(*product_id, 1).await.unwrap();
    }
    let mut holder = sale.database.lock_rows(&one_by_one("products", &locked)).await;
    let others = async {
        for _ in 0..10 {
            timeout(SOON, clients.hold(other, 1)).await.expect("a turn and a connection").unwrap();
        }
    };
    assert_passed_by(locked.iter().map(|product_id| clients.hold(*product_id, 1)).collect(), others).await;
    holder.execute("ROLLBACK").await;
    for product_id in &locked {
        clients.hold(*product_id, 1).await.unwrap();
    }
    sale.finish().await;
}

/// After a wait in vain the service asks whether the product is free without waiting, so later calls take no
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_stays_locked_is_waited_for_in_the_database_once() {
    let sale = Sale::start("stuck_product").await;
    let (clients, product_id) = (sale.clients().clone(), sale.product(10).await);
    let mut holder = sale.database.lock_rows("products").await;
    assert_told(clients.hold(product_id, 1)).await;
    let mut next = Box::pin(assert_told(clients.hold(product_id, 1)));
    loop {
        tokio::select! {
            biased;
            () = &mut next => break,
            waiting = sale.database.waiting_transactions() => assert_eq!(waiting, 0),
        }
    }
    holder.execute("ROLLBACK").await;
    clients.hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

/// Calls that come while a batch waits are refused with the batch, or soon after it.
#[tokio::test(flavor = "multi_thread")]
async fn calls_queued_behind_a_batch_that_waits_for_its_product_are_told_in_time() {
    let sale = Sale::start("queued_behind").await;
    let product_id = sale.product(10).await;
    let mut holder = sale.database.lock_rows("products").await;
    let first = async {
        assert_told(sale.clients().hold(product_id, 1)).await;
    };
    let behind = async {
        sale.database.wait_for_waiter().await;
        tokio::join!(
            assert_told(sale.clients().hold(product_id, 1)),
            assert_told(sale.clients().hold(product_id, 2)),
            assert_told(sale.clients().adjust(product_id, 1, "r")),
        );
    };
    tokio::join!(first, behind);
    holder.execute("ROLLBACK").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

/// One script gives units back to several products, and a locked product is left out of the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_product_holds_up_no_release_and_no_failed_payment_of_another() {
    let sale = Sale::start("busy_give_back").await;
    let clients = sale.clients();
    let (locked, other) = (sale.product(10).await, sale.product(10).await);
    let held = |product_id| async move { clients.hold(product_id, 1).await.unwrap().hold_id };
    let (of_locked, of_other) = (held(locked).await, held(other).await);
    let failing = (sale.ordered(locked, 1).await.order_id, sale.ordered(other, 1).await.order_id);
    let mut holder = sale.database.lock_rows(&format!("products WHERE id = {locked}")).await;
    assert_passed_by(vec![clients.release(of_locked)], clients.release(of_other)).await.unwrap();
    let pay = |key, order_id| clients.pay(key, order_id, PaymentStatus::Failure);
    assert_passed_by(vec![pay("locked", failing.0)], pay("other", failing.1)).await.unwrap();
    // A payment that gives nothing back doesn't touch the product.
    clients.pay("paid", failing.0, PaymentStatus::Success).await.unwrap();
    holder.execute("ROLLBACK").await;
    clients.release(of_locked).await.unwrap();
    assert_eq!((sale.stock(locked).await, sale.stock(other).await), (9, 10));
    sale.finish().await;
}

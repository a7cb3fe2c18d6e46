//! What happens beside a sweep that has locked rows and has written nothing yet: nobody waits for it.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::expire_holds::expire_holds,
    config::Account,
    db::{Connection, Database, Failure, Plan, Script, due::SweepScope, holds},
};
use tokio::sync::Notify;
use tonic::Code;

use crate::support::{
    client::assert_refused,
    server::{Sale, database_config},
};

const BATCH: usize = 100;

/// Puts a product on sale with `count` free units, and `count` in expired holds of one unit.
async fn with_expired_holds(sale: &Sale, count: i32) -> i64 {
    let product_id = sale.clients().create_product("Shoe", 1000, i64::from(count) * 2).await.product_id;
    let holds = (0..count).map(|_| sale.clients().hold(product_id, 1));
    for hold in futures_util::future::join_all(holds).await {
        hold.unwrap();
    }
    sale.expire_all_holds().await;
    product_id
}

/// Runs `meanwhile` while a sweep has locked up to `limit` expired holds and has written nothing yet.
async fn while_a_sweep_is_at_work<T>(sale: &Sale, limit: usize, meanwhile: impl Future<Output = T>) -> T {
    let sweeper = Database::new(&database_config(&sale.database.url_for(Account::Sweeper), 1)).unwrap();
    let (locked, over) = (Notify::new(), Notify::new());
    let sweep = sweeper.transaction("sweep", async |conn: &mut Connection, _attempt| {
        let rows = holds::lock_expired(conn, SweepScope::AllProducts, UNIX_EPOCH.into(), limit).await?.len();
        locked.notify_one();
        over.notified().await;
        Ok::<_, Failure>(Plan { script: Script::default(), value: rows })
    });
    let meanwhile = async {
        locked.notified().await;
        let result = meanwhile.await;
        over.notify_one();
        result
    };
    let (swept, result) = tokio::join!(sweep, meanwhile);
    assert!(swept.unwrap().value > 0);
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sweep_gets_other_rows_and_waits_for_none() {
    let sale = Sale::start("two_sweeps").await;
    let product_id = with_expired_holds(&sale, 300).await;
    let second = Database::new(&database_config(&sale.database.url_for(Account::Sweeper), 1)).unwrap();
    let swept = while_a_sweep_is_at_work(&sale, BATCH, async {
        let mut rows = Vec::new();
        for _ in 0..3 {
            rows.push(expire_holds(&second, UNIX_EPOCH, BATCH).await.unwrap().rows);
        }
        rows
    })
    .await;
    assert_eq!(swept, [BATCH, BATCH, 0]);
    assert_eq!(expire_holds(&second, UNIX_EPOCH, BATCH).await.unwrap().rows, BATCH);
    assert_eq!(sale.clients().available_stock(product_id).await, 600);
    sale.finish().await;
}

/// Under REPEATABLE READ the sweep would lock the gaps that new holds go into.
#[tokio::test(flavor = "multi_thread")]
async fn new_holds_and_orders_do_not_wait_for_a_sweep_at_work() {
    let sale = Sale::start("sweep_at_work").await;
    let clients = sale.clients();
    let product_id = with_expired_holds(&sale, 20).await;
    let (hold, order) = while_a_sweep_is_at_work(&sale, BATCH, async {
        let hold = clients.hold(product_id, 1).await;
        let hold_id = hold.as_ref().map_or(0, |hold| hold.hold_id);
        (hold, clients.order(hold_id).await)
    })
    .await;
    hold.unwrap();
    order.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_short_of_stock_passes_over_what_a_sweep_has_locked() {
    let sale = Sale::start("short_of_stock").await;
    let product_id = with_expired_holds(&sale, 30).await;
    let (taken, short) = while_a_sweep_is_at_work(&sale, 10, async {
        // 30 are free, and of the 30 expired ones 20 aren't locked.
        (sale.clients().hold(product_id, 50).await, sale.clients().hold(product_id, 1).await)
    })
    .await;
    assert_eq!(taken.unwrap().qty, 50);
    assert_refused(short, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(sale.clients().hold(product_id, 10).await.unwrap().qty, 10);
    assert_eq!(sale.clients().available_stock(product_id).await, 0);
    sale.finish().await;
}

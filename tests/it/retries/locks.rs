//! Covers deadlocks and lock waits.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use diesel_async::SimpleAsyncConnection;
use flashsale::{
    db::{Connection, Failure, FailureKind::*, Plan},
    error::Error,
};
use tokio::sync::Notify;
use tonic::Code;

use super::{Failures, done, holder_of_product_1, pool, with_products};
use crate::support::{
    client::{assert_refused, details},
    database::RawConnection,
    server::Sale,
};

/// Begins a transaction with so many changes that InnoDB chooses any other one as a deadlock's victim.
async fn begin_heavy(connection: &mut RawConnection) {
    connection.execute("CREATE TABLE IF NOT EXISTS heavy (note INT) ENGINE = InnoDB").await;
    connection.execute("BEGIN").await;
    let rows = vec!["(1)"; 100].join(",");
    connection.execute(&format!("INSERT INTO heavy VALUES {rows}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_a_deadlock_runs_again() {
    let database = with_products("deadlock").await;
    let mut other = database.connect().await;
    begin_heavy(&mut other).await;
    other.execute("SELECT id FROM products WHERE id = 1 FOR UPDATE").await;

    let (locked, other_waits) = (Notify::new(), Notify::new());
    let other_goes_on = async {
        locked.notified().await;
        let see_it_wait = async {
            database.wait_for_waiter().await;
            other_waits.notify_one();
        };
        tokio::join!(other.execute("SELECT id FROM products WHERE id = 2 FOR UPDATE"), see_it_wait);
        other.execute("COMMIT").await;
    };
    let failures = Failures::default();
    let pool = pool(&database, 1);
    let ours = pool.transaction("deadlock", async |conn: &mut Connection, attempt| {
        failures.run(conn, "SELECT id FROM products WHERE id = 2 FOR UPDATE").await?;
        if attempt == 0 {
            locked.notify_one();
            other_waits.notified().await;
        }
        failures.run(conn, "SELECT id FROM products WHERE id = 1 FOR UPDATE").await?;
        failures.run(conn, &format!("UPDATE products SET name = 'run {attempt}' WHERE id = 1")).await?;
        Ok::<_, Failure>(done())
    });
    let (ended, ()) = tokio::join!(ours, other_goes_on);
    ended.unwrap();
    assert_eq!(failures.kinds(), [Deadlock]);
    assert_eq!(database.query_rows("SELECT name FROM products WHERE id = 1").await, [["run 1"]]);
    database.assert_no_open_transactions().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_the_victim_of_a_deadlock_gives_back_once() {
    let sale = Sale::start("deadlocked_release").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let hold_id = sale.clients().hold(product_id, 4).await.unwrap().hold_id;
    let mut other = sale.database.connect().await;
    begin_heavy(&mut other).await;
    other.execute(&format!("SELECT id FROM products WHERE id = {product_id} FOR UPDATE")).await;

    let other_goes_on = async {
        // The release has locked its hold and waits for the product.
        sale.database.wait_for_waiter().await;
        other.execute(&format!("SELECT id FROM holds WHERE id = {hold_id} FOR UPDATE")).await;
        other.execute("COMMIT").await;
    };
    let (released, ()) = tokio::join!(sale.clients().release(hold_id), other_goes_on);
    assert_eq!(released.unwrap().status(), flashsale::pb::HoldStatus::Cancelled);
    assert_eq!(sale.clients().available_stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_waited_for_once_and_nothing_of_the_transaction_is_left() {
    let database = with_products("lock_wait").await;
    let mut holder = holder_of_product_1(&database).await;
    let failures = Failures::default();
    let pool = pool(&database, 1);
    let ended = pool.transaction("lock_wait", async |conn: &mut Connection, _attempt| {
        // The server undoes only the statement that waits, so the transaction's ROLLBACK has to undo this change.
        failures.run(conn, "UPDATE products SET name = 'half done' WHERE id = 2").await?;
        failures.run(conn, "UPDATE products SET name = 'done' WHERE id = 1").await?;
        Ok::<_, Failure>(done())
    });
    assert_eq!(ended.await.unwrap_err(), Error::LockContention);
    assert_eq!(failures.kinds(), [LockWait]);
    holder.execute("ROLLBACK").await;
    let names = database.query_rows("SELECT name FROM products ORDER BY id").await;
    assert_eq!(names, [["Shoe"], ["Shoe"], ["Shoe"]]);
    database.assert_no_open_transactions().await;
}

/// For a caller who has gone neither the first run begins nor a later one.
#[tokio::test(flavor = "multi_thread")]
async fn no_run_begins_for_a_caller_who_has_gone() {
    let database = with_products("gone").await;
    let pool = pool(&database, 1);
    for runs_before in [0, 1] {
        let (gone, unknown, runs) = (AtomicBool::new(runs_before == 0), AtomicBool::new(false), AtomicU32::new(0));
        let wanted = || !gone.load(Relaxed);
        let ended = pool.for_callers(&wanted, &unknown).transaction("gone", async |conn: &mut Connection, _attempt| {
            runs.fetch_add(1, Relaxed);
            gone.store(true, Relaxed);
            conn.batch_execute("UPDATE products SET name = 'done' WHERE id = 1").await?;
            Err::<Plan<()>, _>(Failure { kind: Deadlock, text: "to be run again".to_owned() })
        });
        assert_eq!(ended.await.unwrap_err(), Error::DeadlineExceeded);
        assert_eq!(runs.load(Relaxed), runs_before);
    }
    assert_eq!(database.query_rows("SELECT name FROM products WHERE id = 1").await, [["Shoe"]]);
    database.assert_no_open_transactions().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_stay_locked_are_lock_contention_and_may_be_tried_again() {
    let sale = Sale::start("lock_contention").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let mut holder = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;

    let began = Instant::now();
    let refused = sale.clients().hold(product_id, 1).await;
    // The answer comes before the gateway's 5 s are over.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let status = assert_refused(refused, Code::Unavailable, "LOCK_CONTENTION");
    let retry = details(&status).retry_info().unwrap().retry_delay.unwrap();
    assert!(retry > Duration::ZERO && retry <= Duration::from_secs(1), "{retry:?}");
    // Neither another product nor a read is delayed.
    let other = sale.clients().create_product("Sock", 100, 10).await.product_id;
    sale.clients().hold(other, 1).await.unwrap();
    assert_eq!(sale.clients().available_stock(product_id).await, 10);

    holder.execute("ROLLBACK").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.database.query_i64("SELECT COUNT(*) FROM holds").await, 2);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_a_free_connection_is_overloaded_and_the_transaction_has_not_begun() {
    let database = with_products("pool_busy").await;
    let pool = pool(&database, 1);
    let (taken, refused) = (Notify::new(), Notify::new());
    let first = pool.transaction("first", async |_conn: &mut Connection, _attempt| {
        taken.notify_one();
        refused.notified().await;
        Ok::<_, Failure>(done())
    });
    let runs = AtomicU32::new(0);
    let second = async {
        taken.notified().await;
        let body = async |_conn: &mut Connection, _attempt| {
            runs.fetch_add(1, Relaxed);
            Ok::<_, Failure>(done())
        };
        let ended = pool.transaction("second", body).await;
        refused.notify_one();
        ended
    };
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(second.unwrap_err(), Error::Overloaded("no database connection came free in time"));
    assert_eq!(runs.load(Relaxed), 0);
}

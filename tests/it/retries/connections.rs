//! Covers connections that break: killed at work, killed or timed out while idle, or refused.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use flashsale::{
    db::{Connection, Failure, FailureKind::*},
    error::Error,
};
use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::{Failures, LIMIT, done, holder_of_product_1, pool, with_products};
use crate::support::{database::RawConnection, server::Sale, wait};

/// Runs a transaction whose statement `command` kills: it runs again, on any connection.
async fn assert_runs_again_after(command: &str) {
    let database = with_products("kill").await;
    let mut holder = holder_of_product_1(&database).await;
    let failures = Failures::default();
    let pool = pool(&database, 1);
    let ours = pool.transaction("kill", async |conn: &mut Connection, attempt| {
        failures.run(conn, &format!("UPDATE products SET name = CONCAT(name, ' {attempt}') WHERE id = 2")).await?;
        failures.run(conn, "UPDATE products SET name = 'done' WHERE id = 1").await?;
        Ok::<_, Failure>(done())
    });
    let kill = async {
        let waiter = database.wait_for_waiter().await;
        database.execute(&format!("{command} {waiter}")).await;
        wait::eventually(LIMIT, "the failure", async || !failures.kinds().is_empty()).await;
        holder.execute("ROLLBACK").await;
    };
    let (ended, ()) = tokio::join!(ours, kill);
    ended.unwrap();
    assert_eq!(failures.kinds(), [Away], "{command}");
    let names = database.query_rows("SELECT name FROM products ORDER BY id").await;
    assert_eq!(names, [["done"], ["Shoe 1"], ["Shoe"]], "{command}");
    database.assert_no_open_transactions().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_connection_is_killed_runs_again() {
    assert_runs_again_after("KILL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_query_is_killed_runs_again() {
    assert_runs_again_after("KILL QUERY").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_connection_is_killed_is_made_once() {
    let sale = Sale::start("killed_hold").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let mut holder = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let kill = async {
        let waiter = sale.database.wait_for_waiter().await;
        sale.database.execute(&format!("KILL {waiter}")).await;
        holder.execute("ROLLBACK").await;
    };
    let (held, ()) = tokio::join!(sale.clients().hold(product_id, 3), kill);
    let hold_id = held.unwrap().hold_id;
    assert_eq!(sale.database.query_i64("SELECT id FROM holds").await, hold_id);
    sale.finish().await;
}

/// Opens `count` connections of the pool.
async fn fill(pool: &flashsale::db::Database, count: usize) {
    let all_open = Barrier::new(count);
    let opened = join_all((0..count).map(|_| {
        pool.transaction("fill", async |_conn: &mut Connection, _attempt| {
            all_open.wait().await;
            Ok::<_, Failure>(done())
        })
    }))
    .await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
}

#[tokio::test]
async fn a_pool_of_dead_connections_costs_a_transaction_one_run() {
    let database = with_products("dead_pool").await;
    let pool = pool(&database, 12);
    fill(&pool, 12).await;
    assert_eq!(database.connection_ids().await.len(), 12);
    database.kill_connections().await;
    wait::eventually(LIMIT, "the end of the connections", async || database.connection_ids().await.is_empty()).await;

    let runs = AtomicU32::new(0);
    let failures = Failures::default();
    let ended = pool
        .transaction("after", async |conn: &mut Connection, attempt| {
            runs.store(attempt, Ordering::Relaxed);
            failures.run(conn, "UPDATE products SET name = 'done' WHERE id = 1").await?;
            Ok::<_, Failure>(done())
        })
        .await;
    ended.unwrap();
    // The BEGIN before the body fails, and only the first.
    assert_eq!((runs.load(Ordering::Relaxed), failures.kinds()), (1, vec![]));
}

/// A run may wait for several locks in turn, each time for less than the limit. That says nothing about the server.
#[tokio::test]
async fn a_run_that_takes_too_long_costs_its_own_connection_and_no_other() {
    let database = with_products("too_long").await;
    let pool = pool(&database, 3);
    fill(&pool, 3).await;
    let before = database.connection_ids().await;
    let has_ended = AtomicBool::new(false);
    let too_long = async {
        let ended = pool
            .transaction("too_long", async |conn: &mut Connection, attempt| {
                let sql = if attempt == 0 { "DO SLEEP(60)" } else { "UPDATE products SET name = 'done' WHERE id = 1" };
                Failures::default().run(conn, sql).await?;
                Ok::<_, Failure>(flashsale::db::Plan { script: Default::default(), value: attempt })
            })
            .await;
        has_ended.store(true, Ordering::Relaxed);
        ended
    };
    // The other connections are used meanwhile, as in a sale: unused ones are closed earlier.
    let others = wait::eventually(LIMIT, "the end of the run", async || {
        fill(&pool, 1).await;
        has_ended.load(Ordering::Relaxed)
    });
    let (ended, ()) = tokio::join!(too_long, others);
    assert_eq!(ended.unwrap().value, 1);
    let after = database.connection_ids().await;
    assert!(after.iter().all(|id| before.contains(id)), "no new connection was needed: {before:?}, {after:?}");
    // The statement goes on sleeping at the server.
    database.kill_connections().await;
}

#[tokio::test]
async fn a_read_on_a_dead_connection_is_repeated() {
    let database = with_products("dead_read").await;
    let pool = pool(&database, 12);
    fill(&pool, 12).await;
    database.kill_connections().await;
    let failures = Failures::default();
    let read = pool
        .read("after", async |conn: &mut Connection, attempt| {
            failures.run(conn, "SELECT id FROM products").await?;
            Ok::<_, Failure>(attempt)
        })
        .await;
    assert_eq!((read.unwrap(), failures.kinds()), (1, vec![Away]));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_for_idling_costs_a_transaction_one_run() {
    let database = with_products("idle").await;
    let pool = pool(&database, 1);
    let failures = Failures::default();
    for (sql, run) in [("SET SESSION wait_timeout = 1", 0), ("UPDATE products SET name = 'done' WHERE id = 1", 1)] {
        wait::eventually(LIMIT, "the end of the connection", async || database.connection_ids().await.is_empty()).await;
        let ended = pool
            .transaction("idle", async |conn: &mut Connection, attempt| {
                failures.run(conn, sql).await?;
                Ok::<_, Failure>(flashsale::db::Plan { script: Default::default(), value: attempt })
            })
            .await;
        assert_eq!(ended.unwrap().value, run);
    }
    assert_eq!(failures.kinds(), []);
}

#[tokio::test]
async fn a_database_that_nobody_serves_is_unavailable_after_three_more_tries() {
    let config = crate::support::server::database_config("mysql://flashsale:x@127.0.0.1:1/it_nowhere", 1);
    let pool = flashsale::db::Database::new(&config).unwrap();
    let ended = pool.transaction("nobody", async |_conn: &mut Connection, _attempt| Ok::<_, Failure>(done())).await;
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
}

#[tokio::test]
async fn a_wrong_password_is_unavailable_and_is_not_in_the_error() {
    let database = with_products("password").await;
    let url = database.url().replace("p%40ss", "wr0ng");
    assert!(RawConnection::open(&url).await.is_err());
    let pool = flashsale::db::Database::new(&crate::support::server::database_config(&url, 1)).unwrap();
    let ended = pool.transaction("password", async |_conn: &mut Connection, _attempt| Ok::<_, Failure>(done())).await;
    let Err(Error::Unavailable(text)) = ended else { panic!("{ended:?}") };
    assert!(!text.contains("wr0ng"), "{text}");
}

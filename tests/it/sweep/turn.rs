//! Covers whose turn it is to sweep: a frozen or dead sweep blocks the others only for a short time.

use std::{future, time::Duration};

use flashsale::{
    config::Account,
    db::named_lock::NamedLock,
    sweeper::{self, Sweep},
};
use serde_json::json;

use crate::support::{
    database::TestDatabase,
    mysqld::{Engine, Mysqld},
    process::{Process, Program},
    programs::{self, lines_of, sweep},
    server::{Sale, database_config},
    signal, wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns the name of the sweep's lock, as SQL.
fn lock_name(database: &TestDatabase) -> String {
    format!("CONCAT('flashsale_sweep:', LEFT(SHA2('{}', 256), 32))", database.name())
}

/// Returns the id of the connection that has the lock.
async fn holder(database: &TestDatabase) -> i64 {
    database.query_i64(&format!("SELECT IS_USED_LOCK({})", lock_name(database))).await
}

async fn let_progress_be_old(database: &TestDatabase) {
    database.execute("UPDATE sweeper_state SET progress_at = progress_at - INTERVAL 6 MINUTE").await;
}

/// Waits until a sweep waits for the lock, after it has read how old the progress is.
async fn wait_for_second_look(database: &TestDatabase, engine: Engine) {
    let waiting = format!(
        "SELECT COUNT(*) FROM {} WHERE db = '{}' AND state = 'User lock'",
        engine.processlist(),
        database.name()
    );
    wait::eventually(LIMIT, "a sweep that waits for the lock", async || database.query_i64(&waiting).await == 1).await;
}

/// An operator does what the second sweep's message says. A minute later the database would end the connection itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_sweep_is_told_as_stalled_and_does_no_harm_when_it_wakes_up() {
    let sale = Sale::start("a_frozen_sweep").await;
    let product_id = sale.product(10).await;
    for _ in 0..3 {
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    sale.expire_all_holds().await;
    let (database, url) = (&sale.database, sale.database.url_for(Account::Sweeper));
    let mut console = database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let mut frozen = Process::spawn(Program::Sweeper, &[], &[("DATABASE_URL", &*url)]);
    let waiter = database.wait_for_waiter().await;
    signal::send(frozen.pid(), "STOP");

    let (code, lines, _) = sweep(&url, &[]).await;
    let last = lines.last().unwrap();
    assert_eq!((code, &last["message"]), (0, &json!("Another sweep is running")));
    let connection_id = holder(database).await;
    assert_eq!(last["connection_id"], json!(connection_id));

    let_progress_be_old(database).await;
    let (code, lines, stderr) = sweep(&url, &[]).await;
    let last = lines.last().unwrap();
    assert_eq!((code, &last["message"], &last["level"]), (1, &json!("Another sweep gets nowhere"), &json!("ERROR")));
    assert_eq!(last["connection_id"], json!(connection_id));
    let told = format!(
        "the sweeper failed: another sweep has got nowhere for 5 minutes: end its process, or KILL its database \
         connection {connection_id}"
    );
    assert_eq!(stderr, told);

    // The session of the pool ends sooner than the session of the lock.
    for id in [i64::from(waiter), connection_id] {
        database.execute(&format!("KILL {id}")).await;
    }
    console.execute("ROLLBACK").await;
    wait::eventually(LIMIT, "the lock and the holds to be free", async || {
        let run = sweeper::run(&sale.sweeper(100), future::pending()).await.unwrap();
        matches!(run, Sweep::Done(_)) && sale.count("holds WHERE status = 'expired'").await == 3
    })
    .await;

    signal::send(frozen.pid(), "CONT");
    assert_eq!(frozen.wait_exit(LIMIT).await, 1);
    let lines = frozen.lines();
    let last = lines.last().unwrap();
    assert_eq!(last["message"], "Sweep failed");
    assert!(last["error"].as_str().unwrap().contains("the lock is lost"), "{last}");
    assert!(lines_of(&lines, "Hold expired and stock released").is_empty());
    assert_eq!(sale.stock(product_id).await, 10);
    assert_eq!(sale.database.query_i64("SELECT holds_expired FROM sweeper_state").await, 3);
    sale.finish().await;
}

/// The other sweep may have begun when the last one was long ago, and have written nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_shows_that_it_works_at_the_second_look_is_not_stalled() {
    let sale = Sale::start("a_second_look").await;
    let engine = Mysqld::shared().engine();
    let config = database_config(&sale.database.url_for(Account::Sweeper), 1);
    let_progress_be_old(&sale.database).await;
    for lets_go in [false, true] {
        let lock = NamedLock::take(&config, "sweep", 0).await.unwrap().unwrap();
        let sweeper = sale.sweeper(100);
        let run = tokio::spawn(async move { sweeper::run(&sweeper, future::pending()).await.unwrap() });
        wait_for_second_look(&sale.database, engine).await;
        if lets_go {
            lock.release().await;
            assert!(matches!(run.await.unwrap(), Sweep::Done(_)));
        } else {
            sale.database.execute("UPDATE sweeper_state SET progress_at = UTC_TIMESTAMP(6)").await;
            assert_eq!(run.await.unwrap(), Sweep::AnotherIsRunning);
            let_progress_be_old(&sale.database).await;
            lock.release().await;
        }
    }
    sale.finish().await;
}

/// A clock that was set back must not hide a frozen sweep until it has caught up.
#[tokio::test(flavor = "multi_thread")]
async fn a_progress_far_ahead_of_the_clock_is_none() {
    let sale = Sale::start("a_progress_ahead").await;
    let config = database_config(&sale.database.url_for(Account::Sweeper), 1);
    let lock = NamedLock::take(&config, "sweep", 0).await.unwrap().unwrap();
    let connection_id = Some(holder(&sale.database).await);
    for (ahead, stalled) in [(4, false), (6, true)] {
        let sql = format!("UPDATE sweeper_state SET progress_at = UTC_TIMESTAMP(6) + INTERVAL {ahead} MINUTE");
        sale.database.execute(&sql).await;
        let expected = if stalled { Sweep::AnotherIsStalled { connection_id } } else { Sweep::AnotherIsRunning };
        assert_eq!(sweeper::run(&sale.sweeper(100), future::pending()).await.unwrap(), expected);
    }
    lock.release().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_writes_its_progress_down_at_its_beginning_and_with_each_batch() {
    let sale = Sale::start("a_sweep_writes_its_progress").await;
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.expire_all_holds().await;
    let database = &sale.database;
    let forget = "UPDATE sweeper_state SET progress_at = '2000-01-01', latest_at = '2000-01-01'";
    let written = "SELECT progress_at > UTC_TIMESTAMP() - INTERVAL 1 HOUR, latest_at > '2000-01-01' FROM sweeper_state";
    database.execute(forget).await;

    let mut console = database.lock_rows("products").await;
    let config = sale.sweeper(100);
    let run = tokio::spawn(async move { sweeper::run(&config, future::pending()).await.unwrap() });
    database.wait_for_waiter().await;
    assert_eq!(database.query_rows(written).await, [["1", "1"]], "before its first batch");

    // The clock has gone back, and the latest moment stays.
    database.execute("UPDATE sweeper_state SET progress_at = '2000-01-01', latest_at = '2100-01-01'").await;
    console.execute("ROLLBACK").await;
    let Sweep::Done(report) = run.await.unwrap() else { panic!("no other sweep is running") };
    assert_eq!(report.holds_expired, 1);
    assert_eq!(database.query_rows(written).await, [["1", "1"]]);
    assert_eq!(database.query_i64("SELECT latest_at = '2100-01-01' FROM sweeper_state").await, 1);

    database.execute(forget).await;
    assert!(matches!(sweeper::run(&sale.sweeper(100), future::pending()).await.unwrap(), Sweep::Done(_)));
    assert_eq!(database.query_rows(written).await, [["1", "1"]], "also where there is nothing to do");
    sale.finish().await;
}

/// The database ends a connection that is idle for too long, and then its lock is free.
#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_an_idle_connection_is_free_when_the_database_ends_it() {
    let sale = Sale::start("an_idle_lock").await;
    let mut idle = sale.database.connect().await;
    idle.execute("SET SESSION wait_timeout = 1").await;
    assert_eq!(idle.query_i64(&format!("SELECT GET_LOCK({}, 0)", lock_name(&sale.database))).await, 1);
    let config = database_config(&sale.database.url_for(Account::Sweeper), 1);
    let lock = NamedLock::take(&config, "sweep", 30).await.unwrap().expect("the idle connection was ended");
    lock.release().await;
    sale.finish().await;
}

/// A connection of a lock may be idle for a minute, so a frozen process keeps its lock no longer.
///
/// A migration runs on the connection of its lock, so a long statement doesn't lose the lock.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_of_a_lock_ends_when_it_is_idle_for_a_minute() {
    let mysqld = Mysqld::start_private(&["--log-output=TABLE"]).await;
    let database = TestDatabase::create_empty_on(&mysqld, "locks").await;
    database.execute("SET GLOBAL general_log = ON").await;
    let (code, lines) = programs::migrate(&database.url(), &[]).await;
    assert_eq!(code, 0, "{lines:#?}");
    let (code, lines, _) = sweep(&database.url(), &[]).await;
    assert_eq!(code, 0, "{lines:#?}");
    database.execute("SET GLOBAL general_log = OFF").await;

    let logged = async |pattern: &str| -> Vec<String> {
        let sql = format!(
            "SELECT DISTINCT thread_id FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') \
             AND user_host LIKE 'flashsale%' AND CONVERT(argument USING utf8mb4) LIKE '{pattern}' ORDER BY thread_id"
        );
        database.query_rows(&sql).await.into_iter().flatten().collect()
    };
    let locked = logged("%GET_LOCK(CONCAT%").await;
    assert_eq!(locked.len(), 2, "{locked:?}");
    assert_eq!(logged("SET SESSION wait_timeout = 60").await, locked);
    assert_eq!(logged("%CREATE TABLE IF NOT EXISTS holds%").await, [locked[0].clone()]);
    assert_eq!(logged("UPDATE `sweeper_state` SET `progress_at`%").await, [locked[1].clone()]);
}

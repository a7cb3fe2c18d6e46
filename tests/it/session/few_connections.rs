//! Covers an account, or a database server, that allows fewer connections than the pool may have.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use diesel_async::SimpleAsyncConnection;
use flashsale::{
    config::Account,
    db::{Connection, Database, Failure, Plan, Script},
    error::Error,
};
use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::support::{
    client::Clients,
    database::{RawConnection, TestDatabase},
    mysqld::{self, Mysqld},
    server::{Sale, TestServer, database_config},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
const CALLERS: usize = 64;
/// More products than the account may have connections, so that all connections are wanted at once.
const PRODUCTS: usize = 16;
const CALLS_EACH: usize = 12;

async fn connections_so_far(database: &TestDatabase) -> i64 {
    database.query_rows("SHOW GLOBAL STATUS LIKE 'Connections'").await[0][1].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_four_connections_serves_sixty_four_callers() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "four_connections").await;
    database.execute(&may_have(4)).await;
    let server = TestServer::start(&database).await;
    let sale = Sale { database, server };
    let mut products = Vec::new();
    for _ in 0..PRODUCTS {
        products.push(sale.product(10_000).await);
    }
    let callers = Clients::connect_several(&sale.server.address(), CALLERS).await;
    let before = connections_so_far(&sale.database).await;
    let began = Instant::now();
    let products = &products;
    let calls = callers.iter().enumerate().map(|(caller, clients)| async move {
        for call in 0..CALLS_EACH {
            let product_id = products[(caller + call) % PRODUCTS];
            let hold = clients.hold(product_id, 1).await.unwrap();
            clients.available_stock(product_id).await;
            if call % 2 == 0 {
                clients.order(hold.hold_id).await.unwrap();
            } else {
                clients.release(hold.hold_id).await.unwrap();
            }
        }
    });
    join_all(calls).await;
    let attempts = connections_so_far(&sale.database).await - before;
    assert_few(attempts, began);
    sale.finish().await;
}

/// Checks the number of logins: one for each that the pool may have, two a second, and the test's own.
fn assert_few(attempts: i64, began: Instant) {
    let allowed = 16 + 2 * (1 + i64::try_from(began.elapsed().as_secs()).unwrap()) + 8;
    assert!(attempts <= allowed, "{attempts} connections in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_keeps_the_four_connections_that_it_may_have_until_it_may_have_more() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "four_of_eight").await;
    database.execute(&may_have(4)).await;
    let pool = Database::new(&database_config(&database.url(), 16)).unwrap();
    let before = connections_so_far(&database).await;
    let began = Instant::now();
    let runs = AtomicU32::new(0);
    for _ in 0..20 {
        assert_all_run(&pool, CALLERS, &runs).await;
    }
    assert_eq!(runs.load(Relaxed), 20 * u32::try_from(CALLERS).unwrap(), "some ran more than once");
    assert_few(connections_so_far(&database).await - before, began);

    // The server applies the new limit to new connections once the last old one has gone.
    database.execute(&may_have(0)).await;
    database.execute("FLUSH USER_RESOURCES").await;
    at_once(&pool, 8).await;
}

fn server_user() -> String {
    mysqld::user(mysqld::Account::Of(Account::Server))
}

fn may_have(connections: u32) -> String {
    format!("ALTER USER '{}'@'127.0.0.1' WITH MAX_USER_CONNECTIONS {connections}", server_user())
}

/// Runs `count` transactions that want a connection at the same moment, and counts their runs.
async fn assert_all_run(pool: &Database, count: usize, runs: &AtomicU32) {
    let ended = join_all((0..count).map(|_| {
        pool.transaction("all", async |conn: &mut Connection, _attempt| {
            runs.fetch_add(1, Relaxed);
            conn.batch_execute("DO 1").await?;
            Ok::<_, Failure>(Plan { script: Script::default(), value: () })
        })
    }))
    .await;
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
}

/// Takes all connections that the server has left for the service's account.
async fn take_the_rest(database: &TestDatabase) -> Vec<RawConnection> {
    let mut taken = Vec::new();
    loop {
        match RawConnection::open(&database.url()).await {
            Ok(connection) => taken.push(connection),
            Err(error) => {
                assert!(error.to_string().contains("Too many connections"), "{error}");
                return taken;
            }
        }
    }
}

/// Runs `count` transactions that are all in their middle at the same moment.
async fn at_once(pool: &Database, count: usize) {
    let all = Barrier::new(count);
    let runs = join_all((0..count).map(|_| {
        pool.transaction("at_once", async |_conn: &mut Connection, _attempt| {
            all.wait().await;
            Ok::<_, Failure>(Plan { script: Script::default(), value: () })
        })
    }))
    .await;
    assert!(runs.iter().all(Result::is_ok), "{runs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_server_costs_no_connection_that_is_there() {
    let mysqld = Mysqld::start_private(&["--max-connections=10"]).await;
    let database = TestDatabase::create_on(&mysqld, "full").await;
    let pool = Database::new(&database_config(&database.url(), 8)).unwrap();
    // The look needs a connection itself, so it comes before all are taken.
    let mut root = database.connect().await;
    let sessions = format!("SELECT id FROM {} WHERE user = '{}'", mysqld.engine().processlist(), server_user());
    at_once(&pool, 2).await;
    let ours = root.query_rows(&sessions).await;
    let others = take_the_rest(&database).await;
    let runs = AtomicU32::new(0);
    assert_all_run(&pool, 40, &runs).await;
    assert_eq!(runs.load(Relaxed), 40, "some ran more than once");
    let now = root.query_rows(&sessions).await;
    assert!(ours.iter().all(|id| now.contains(id)), "{ours:?}, {now:?}");

    drop(others);
    // The pool asks for more connections now and then only.
    wait::eventually(LIMIT, "eight connections", async || {
        assert_all_run(&pool, 40, &runs).await;
        root.query_rows(&sessions).await.len() == 8
    })
    .await;
    at_once(&pool, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_no_connection_left_at_all_is_overloaded_until_it_has() {
    let mysqld = Mysqld::start_private(&["--max-connections=10"]).await;
    let database = TestDatabase::create_on(&mysqld, "none_left").await;
    let pool = Database::new(&database_config(&database.url(), 8)).unwrap();
    let others = take_the_rest(&database).await;
    let write = async || {
        pool.transaction("none_left", async |_conn: &mut Connection, _attempt| {
            Ok::<_, Failure>(Plan { script: Script::default(), value: () })
        })
        .await
    };
    let ended = join_all((0..40).map(|_| write())).await;
    assert!(ended.iter().all(|ended| matches!(ended, Err(Error::Overloaded(_)))), "{ended:?}");
    drop(others);
    wait::eventually(LIMIT, "free connections", async || write().await.is_ok()).await;
}

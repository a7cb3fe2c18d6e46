//! Covers failures that one statement alone causes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use diesel_async::SimpleAsyncConnection;
use flashsale::{
    db::{
        Connection, Database, Failure,
        FailureKind::{self, *},
        Plan, Script, holds, products,
    },
    domain::{ProductId, Quantity, RequestId},
    error::Error,
};

use super::{Failures, LIMIT, done, holder_of_product_1, insert_products, pool, with_products};
use crate::support::{
    client::assert_refused,
    database::TestDatabase,
    mysqld::{Engine, Mysqld},
    server::Sale,
    wait,
};

/// Statements that can't succeed, and the kind of their failure.
const STATEMENTS: [(&str, FailureKind); 14] = [
    ("UPDATE products SET available_stock = -1 WHERE id = 1", Check),
    ("UPDATE products SET available_stock = 1 WHERE id = 1", Check),
    ("UPDATE products SET request_id = 'p1' WHERE id = 2", Duplicate),
    ("INSERT INTO products SELECT * FROM products", Duplicate),
    ("SET @rows = 18446744073709551615 + (ROW_COUNT() <> 7)", RowCount),
    ("SELEC 1", Wrong),
    ("UPDATE products SET colour = 1", Wrong),
    ("SELECT * FROM shoes", Wrong),
    ("SELECT * FROM mysql.global_priv", Denied),
    ("UPDATE products SET name = REPEAT('x', 256)", Wrong),
    ("UPDATE products SET max_per_buyer = 2147483648", Wrong),
    ("UPDATE products SET starts_at = 'noon'", Wrong),
    ("UPDATE products SET name = NULL", Wrong),
    ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'something else'", Other),
];

/// Checks the kinds of the failures of those statements, and of two that need a second session.
async fn assert_told_apart(database: &TestDatabase) {
    let pool = pool(database, 1);
    for (sql, kind) in STATEMENTS {
        let failures = Failures::default();
        let ended = pool
            .transaction("told_apart", async |conn: &mut Connection, attempt| {
                assert!(attempt < 4, "{sql} is repeated without end");
                failures.run(conn, sql).await?;
                Ok::<_, Failure>(done())
            })
            .await;
        let runs = match kind {
            Duplicate | Other => 4,
            _ => 1,
        };
        assert_eq!(failures.kinds(), vec![kind; runs], "{sql}: {:?}", failures.0.lock().unwrap());
        match kind {
            Other => assert!(matches!(ended, Err(Error::Unavailable(_))), "{sql}: {ended:?}"),
            _ => assert!(matches!(ended, Err(Error::Internal(_))), "{sql}: {ended:?}"),
        }
    }
}

#[tokio::test]
async fn each_failure_of_a_statement_is_taken_for_what_it_is() {
    let database = with_products("each_failure").await;
    assert_told_apart(&database).await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}

#[tokio::test]
async fn a_server_that_speaks_german_is_understood() {
    let mysqld = Mysqld::start_private(&["--lc-messages=de_DE"]).await;
    let database = TestDatabase::create_on(&mysqld, "german").await;
    let mut root = database.connect().await;
    let error = root.try_execute("SELEC 1").await.unwrap_err().to_string();
    assert!(error.contains("Fehler"), "the server must speak German by itself: {error}");
    insert_products(&database).await;
    assert_told_apart(&database).await;

    let mut holder = holder_of_product_1(&database).await;
    let pool = pool(&database, 1);
    let failures = Failures::default();
    let lock = async |conn: &mut Connection, _attempt| {
        failures.run(conn, "SELECT id FROM products WHERE id = 1 FOR UPDATE").await?;
        Ok::<_, Failure>(done())
    };
    assert_eq!(pool.transaction("german", lock).await.unwrap_err(), Error::LockContention);
    assert_eq!(failures.kinds(), [LockWait]);

    let failures = Failures::default();
    let lock = async |conn: &mut Connection, _attempt| {
        failures.run(conn, "SELECT id FROM products WHERE id = 1 FOR UPDATE").await?;
        Ok::<_, Failure>(done())
    };
    let kill = async {
        let waiter = database.wait_for_waiter().await;
        database.execute(&format!("KILL QUERY {waiter}")).await;
        wait::eventually(LIMIT, "the failure", async || !failures.kinds().is_empty()).await;
        holder.execute("ROLLBACK").await;
    };
    let (locked, ()) = tokio::join!(pool.transaction("german", lock), kill);
    locked.unwrap();
    assert_eq!(failures.kinds(), [Away]);
    database.assert_no_open_transactions().await;
}

/// Returns a script that makes a hold and takes its stock, where there is none.
fn oversold() -> Script {
    let product_id = ProductId::stored(1);
    let new = holds::NewHold {
        qty: Quantity::stored(1),
        request_id: RequestId::stored(b"oversold".to_vec()),
        buyer_id: None,
    };
    let now = std::time::SystemTime::now();
    let mut script = Script::default();
    holds::insert(&mut script, product_id, 1000, now, now, &[new]);
    products::take(&mut script, product_id, 1);
    script
}

/// The next transaction's BEGIN would commit what a failed script has left in its session.
async fn assert_nothing_is_left(database: &TestDatabase, pool: &Database) {
    pool.transaction("next", async |_conn: &mut Connection, _attempt| Ok::<_, Failure>(done())).await.unwrap();
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM holds").await, 0);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}

#[tokio::test]
async fn a_script_whose_rows_are_others_runs_once_and_leaves_nothing() {
    let database = with_products("row_count").await;
    let pool = pool(&database, 1);
    let runs = AtomicU32::new(0);
    let ended = pool
        .transaction("oversell", async |_conn: &mut Connection, attempt| {
            runs.store(attempt + 1, Relaxed);
            Ok::<_, Failure>(Plan { script: oversold(), value: () })
        })
        .await;
    let Err(Error::Internal(text)) = ended else { panic!("{ended:?}") };
    assert!(text.contains("BIGINT UNSIGNED value is out of range"), "{text}");
    assert_eq!(runs.load(Relaxed), 1);
    assert_nothing_is_left(&database, &pool).await;
}

#[tokio::test]
async fn a_duplicate_key_in_a_script_is_repeated_three_times_and_leaves_nothing() {
    let database = with_products("duplicate").await;
    let pool = pool(&database, 1);
    let runs = AtomicU32::new(0);
    let ended = pool
        .transaction("duplicate", async |conn: &mut Connection, attempt| {
            runs.store(attempt + 1, Relaxed);
            conn.batch_execute("UPDATE products SET name = 'changed' WHERE id = 1").await?;
            conn.batch_execute("INSERT INTO products SELECT * FROM products WHERE id = 1").await?;
            Ok::<_, Failure>(done())
        })
        .await;
    assert!(matches!(ended, Err(Error::Internal(_))), "{ended:?}");
    assert_eq!(runs.load(Relaxed), 4);
    assert_nothing_is_left(&database, &pool).await;
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM products WHERE name = 'changed'").await, 0);
}

/// An unknown error of a script doesn't say whether the COMMIT took place, so the session is ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_for_an_unknown_reason_leaves_nothing() {
    let sale = Sale::start("unknown_reason").await;
    let product = sale.clients().create_product("Shoe", 1000, 10).await;
    sale.database
        .execute(
            "CREATE TRIGGER odd BEFORE UPDATE ON products FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'something odd'",
        )
        .await;
    let refused = sale.clients().hold(product.product_id, 1).await;
    assert_refused(refused, tonic::Code::Unavailable, "DATABASE_UNAVAILABLE");
    sale.database.execute("DROP TRIGGER odd").await;
    sale.clients().hold(product.product_id, 2).await.unwrap();
    assert_eq!(sale.database.query_i64("SELECT COUNT(*) FROM holds").await, 1);
    assert_eq!(sale.clients().available_stock(product.product_id).await, 8);
    sale.finish().await;
}

/// No transaction gets as far as the CHECK, so the test writes without the guarded update.
#[tokio::test]
async fn the_check_says_no_where_every_other_guard_has_failed() {
    let database = with_products("check").await;
    let pool = pool(&database, 1);
    let failures = Failures::default();
    let ended = pool
        .transaction("check", async |conn: &mut Connection, _attempt| {
            failures.run(conn, "UPDATE products SET available_stock = available_stock - 1 WHERE id = 1").await?;
            Ok::<_, Failure>(done())
        })
        .await;
    assert!(matches!(ended, Err(Error::Internal(_))), "{ended:?}");
    assert_eq!(failures.kinds(), [Check]);
    let text = failures.0.lock().unwrap()[0].text.clone();
    assert!(text.contains("products_available_stock"), "{text}");
    let engine = Mysqld::shared().engine();
    assert_eq!(text.starts_with("CONSTRAINT"), engine == Engine::MariaDb, "{text}");
    assert_nothing_is_left(&database, &pool).await;
}

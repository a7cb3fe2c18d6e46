//! Covers a database server that answers and takes no writes: a replica before it is promoted.

use flashsale::{
    db::{Connection, Failure, FailureKind::*},
    error::Error,
};
use tonic::Code;

use super::{Failures, done, insert_products, pool};
use crate::support::{
    client::{assert_refused, details},
    database::TestDatabase,
    mysqld::{Engine, Mysqld},
    server::{TestServer, default_settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_unavailable_until_it_takes_writes_again() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "read_only").await;
    let server = TestServer::start_with(&database.url(), default_settings()).await;
    let clients = &server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let hold_id = clients.hold(product_id, 1).await.unwrap().hold_id;
    let settings: &[&str] = match mysqld.engine() {
        Engine::MariaDb => &["read_only"],
        Engine::MySql => &["read_only", "super_read_only"],
    };
    for setting in settings {
        database.execute(&format!("SET GLOBAL {setting} = ON")).await;
        for refused in [
            clients.hold(product_id, 1).await.map(drop),
            clients.order(hold_id).await.map(drop),
            clients.release(hold_id).await.map(drop),
        ] {
            let status = assert_refused(refused, Code::Unavailable, "DATABASE_UNAVAILABLE");
            assert!(details(&status).retry_info().unwrap().retry_delay.is_some());
        }
        // Reads still succeed.
        assert_eq!(clients.available_stock(product_id).await, 9);
        assert_kind_of_a_write(&database).await;
        database.execute("SET GLOBAL read_only = OFF").await;
        let again = clients.hold(product_id, 1).await.unwrap();
        clients.release(again.hold_id).await.unwrap();
    }
    clients.order(hold_id).await.unwrap();
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}

/// Checks the kind of a write's failure, and that the write runs four times.
async fn assert_kind_of_a_write(database: &TestDatabase) {
    let failures = Failures::default();
    let ended = pool(database, 1)
        .transaction("write", async |conn: &mut Connection, _attempt| {
            failures.run(conn, "UPDATE products SET name = 'changed'").await?;
            Ok::<_, Failure>(done())
        })
        .await;
    assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
    assert_eq!(failures.kinds(), [Away, Away, Away, Away]);
}

#[tokio::test]
async fn a_transaction_that_may_only_read_is_taken_for_a_server_that_may_only_read() {
    let database = TestDatabase::create("read_only_transaction").await;
    insert_products(&database).await;
    let failures = Failures::default();
    let ended = pool(&database, 1)
        .transaction("read_only", async |conn: &mut Connection, attempt| {
            if attempt == 0 {
                failures.run(conn, "COMMIT; START TRANSACTION READ ONLY").await?;
            }
            failures.run(conn, "UPDATE products SET name = 'done'").await?;
            Ok::<_, Failure>(done())
        })
        .await;
    ended.unwrap();
    assert_eq!(failures.kinds(), [Away]);
}

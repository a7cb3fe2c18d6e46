//! Shows what the proxy does to a connection, seen from both ends.

use mysql_async::{Conn, prelude::Queryable};

use super::LIMIT;
use crate::support::{
    database::{RawConnection, TestDatabase},
    proxy::Proxy,
    wait,
};

/// Holds a table, a proxy, and a connection through it that has written a row without a COMMIT.
async fn uncommitted(name: &str) -> (TestDatabase, Proxy, RawConnection) {
    let database = TestDatabase::create_empty(name).await;
    database.execute("CREATE TABLE notes (note INT) ENGINE = InnoDB").await;
    let proxy = Proxy::start(database.port()).await;
    let mut connection = RawConnection::open(&database.url_at(proxy.port())).await.unwrap();
    connection.execute("BEGIN").await;
    connection.execute("INSERT INTO notes VALUES (1)").await;
    (database, proxy, connection)
}

const COUNT_NOTES: &str = "SELECT COUNT(*) FROM notes";

#[tokio::test]
async fn a_lost_commit_answer_leaves_the_row_and_breaks_the_connection() {
    let (database, proxy, mut connection) = uncommitted("lost_answer").await;
    proxy.lose_next_commit_answer();
    assert!(proxy.is_waiting_for_commit());
    assert!(connection.try_execute("COMMIT").await.is_err());
    assert!(!proxy.is_waiting_for_commit());
    assert_eq!(database.query_i64(COUNT_NOTES).await, 1);
    assert!(connection.try_execute("SELECT 1").await.is_err());
    assert_eq!(proxy.counts().commits, 1);
}

#[tokio::test]
async fn a_lost_commit_answer_at_the_end_of_several_statements_leaves_all_their_rows() {
    let (database, proxy, mut connection) = uncommitted("lost_answer_of_several").await;
    proxy.lose_next_commit_answer();
    let statements = "SELECT SLEEP(0.2); INSERT INTO notes VALUES (2), (3) ; commit ;\n";
    assert!(connection.try_execute(statements).await.is_err());
    assert_eq!(database.query_i64(COUNT_NOTES).await, 3);
}

#[tokio::test]
async fn a_dropped_commit_request_leaves_nothing() {
    let (database, proxy, mut connection) = uncommitted("dropped_request").await;
    proxy.drop_next_commit_request();
    assert!(connection.try_execute("COMMIT").await.is_err());
    database.assert_no_open_transactions().await;
    assert_eq!(database.query_i64(COUNT_NOTES).await, 0);

    let again = RawConnection::open(&database.url_at(proxy.port())).await;
    let mut again = again.unwrap();
    again.execute("BEGIN; INSERT INTO notes VALUES (1); COMMIT").await;
    assert_eq!(database.query_i64(COUNT_NOTES).await, 1, "one fault only");
}

#[tokio::test]
async fn a_commit_held_back_comes_late_and_keeps_its_locks_until_then() {
    let (database, proxy, mut connection) = uncommitted("held_back").await;
    proxy.hold_back_next_commit();
    assert!(connection.try_execute("INSERT INTO notes VALUES (2); COMMIT").await.is_err());
    wait::eventually(LIMIT, "the COMMIT", async || proxy.holds_back_a_commit()).await;
    assert_eq!(database.open_transactions().await, 1);
    assert_eq!(database.query_i64(COUNT_NOTES).await, 0);
    proxy.deliver_held_back_commit().await;
    assert_eq!(database.query_i64(COUNT_NOTES).await, 2);
    assert!(!proxy.holds_back_a_commit());
}

#[tokio::test]
async fn a_cut_proxy_resets_and_a_healed_one_passes() {
    let (database, proxy, mut connection) = uncommitted("cut").await;
    proxy.cut();
    assert!(connection.try_execute("COMMIT").await.is_err());
    assert!(RawConnection::open(&database.url_at(proxy.port())).await.is_err());
    proxy.heal();
    let again = RawConnection::open(&database.url_at(proxy.port())).await;
    assert_eq!(again.unwrap().query_i64(COUNT_NOTES).await, 0);
}

#[tokio::test]
async fn a_reset_breaks_the_connections_of_now_only() {
    let (database, proxy, mut connection) = uncommitted("reset").await;
    proxy.reset_connections();
    assert!(connection.try_execute("COMMIT").await.is_err());
    let again = RawConnection::open(&database.url_at(proxy.port())).await;
    assert_eq!(again.unwrap().query_i64(COUNT_NOTES).await, 0);
}

#[tokio::test]
async fn a_black_hole_holds_everything_back_until_it_is_healed() {
    let (database, proxy, mut connection) = uncommitted("black_hole").await;
    proxy.blackhole();
    let commit = tokio::spawn(async move { connection.try_execute("COMMIT").await });
    wait::eventually(LIMIT, "the COMMIT", async || proxy.counts().commits == 1).await;
    assert_eq!(database.query_i64(COUNT_NOTES).await, 0);
    assert!(!commit.is_finished());
    proxy.heal();
    commit.await.unwrap().unwrap();
    assert_eq!(database.query_i64(COUNT_NOTES).await, 1);
}

#[tokio::test]
async fn the_proxy_counts_what_passes() {
    let database = TestDatabase::create_empty("counts").await;
    let proxy = Proxy::start(database.port()).await;
    let mut connection = Conn::from_url(database.url_at(proxy.port())).await.unwrap();
    let before = proxy.counts();
    let number: Option<i64> = connection.exec_first("SELECT ?", (7,)).await.unwrap();
    assert_eq!(number, Some(7));
    connection.query_drop("SELECT 'not a COMMIT'").await.unwrap();
    let after = proxy.counts();
    assert_eq!(after.connections, 1);
    assert_eq!(after.prepares - before.prepares, 1);
    assert_eq!(after.executes - before.executes, 1);
    assert_eq!(after.queries - before.queries, 1);
    assert_eq!(after.commits, 0);
}

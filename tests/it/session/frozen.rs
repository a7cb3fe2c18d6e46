//! Freezes a server in the middle of a transaction: its locks are free within 10 s.

use std::time::{Duration, Instant};

use flashsale::pb::HoldStatus;

use crate::support::{programs::ServerProgram, server::Sale, signal, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// The time that the service promises to the other servers' callers.
const FREE_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_server_had_locked_is_free_within_10_s() {
    let sale = Sale::start("frozen").await;
    let frozen = ServerProgram::start(&sale.database.url(), &[]).await;
    let product_id = sale.product(10).await;
    let hold_id = sale.clients().hold(product_id, 4).await.unwrap().hold_id;

    // The release has locked its hold and waits for the product. The server is frozen there.
    let mut product = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let clients = frozen.clients.clone();
    let release = tokio::spawn(async move { clients.release(hold_id).await });
    let session = sale.database.wait_for_waiter().await;
    assert!(signal::send(frozen.process.pid(), "STOP"));
    let began = Instant::now();
    wait::eventually(LIMIT, "the end of the wait", async || sale.database.waiting_transactions().await == 0).await;
    product.execute("ROLLBACK").await;
    assert!(sale.database.connection_ids().await.contains(&session), "it holds its hold");

    // The database itself says that the lock is there, and later that it is gone.
    let mut looking = sale.database.connect().await;
    looking.execute("SET SESSION innodb_lock_wait_timeout = 60").await;
    looking.execute("BEGIN").await;
    looking.query_rows(&format!("SELECT id FROM holds WHERE id = {hold_id} FOR UPDATE")).await;
    let took = began.elapsed();
    looking.execute("ROLLBACK").await;
    assert!(took > Duration::from_secs(1), "it had locked nothing: {took:?}");
    assert!(took < FREE_WITHIN, "{took:?}");
    assert!(!sale.database.connection_ids().await.contains(&session));
    let released = sale.clients().release(hold_id).await.unwrap();
    assert_eq!(released.status(), HoldStatus::Cancelled);

    release.abort();
    drop(frozen);
    assert_eq!(sale.stock(product_id).await, 10);
    sale.finish().await;
}

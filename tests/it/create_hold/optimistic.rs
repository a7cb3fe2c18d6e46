//! The optimistic way: a server that has just sold a product sends the next holds without a look at it. Each test
//! changes the product behind the server's back, as another server would, and nothing is granted that the change
//! forbids.

use std::time::Duration;

use flashsale::{
    checkout::Settings,
    domain::Refusal,
    error::Error,
    pb::{CreateHoldRequest, Hold},
};
use tonic::{Code, Status};

use crate::support::{
    client::{assert_refused, metadata},
    counted::CountedCheckout,
    sale::{hold, hold_of},
    server::{Sale, TestServer, default_settings},
};

/// Makes a product of 10 units, of which this server has just sold one.
async fn just_sold(name: &str) -> (Sale, i64) {
    let sale = Sale::start(name).await;
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    (sale, product_id)
}

/// Holds one unit after `change`.
async fn hold_after(sale: &Sale, product_id: i64, change: &str) -> Result<Hold, Status> {
    sale.database.execute(&format!("UPDATE products SET {change}")).await;
    sale.clients().hold(product_id, 1).await
}

/// There is no look at the product, and no round trip while it is locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_one_script_and_a_look_at_what_it_made() {
    let sale = Sale::start("a_hold_is_one_script").await;
    let product_id = sale.product(100).await;
    let counted = CountedCheckout::open(&sale.database).await;
    let cost = async || {
        let (held, sent) = counted.hold(hold(product_id, 1)).await;
        held.unwrap();
        (sent.queries, sent.executes, sent.commits)
    };
    assert_eq!(cost().await, (2, 2, 1), "BEGIN, the product, the script, its ids");
    assert_eq!(cost().await, (1, 1, 1), "the script, its ids and its moment");
    counted.close().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_lasts_as_long_as_others_by_the_databases_clock() {
    let settings = Settings { hold_ttl: Duration::from_nanos(7_000_001_999), ..default_settings() };
    let sale = Sale::start_with("an_optimistic_times", settings).await;
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    let before = sale.database.query_rows("SELECT UTC_TIMESTAMP(6)").await;
    let hold = sale.clients().hold(product_id, 1).await.unwrap();
    let after = sale.database.query_rows("SELECT UTC_TIMESTAMP(6)").await;
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap(), hold, "what was answered is what is stored");
    let sql = format!(
        "SELECT TIMESTAMPDIFF(MICROSECOND, created_at, expires_at), created_at BETWEEN '{}' AND '{}' FROM holds
         WHERE id = {}",
        before[0][0], after[0][0], hold.hold_id
    );
    assert_eq!(sale.database.query_rows(&sql).await, [["7000001", "1"]]);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_has_the_price_of_its_moment() {
    let (sale, product_id) = just_sold("an_optimistic_price").await;
    let hold = hold_after(&sale, product_id, "price_cents = 1200").await.unwrap();
    assert_eq!(hold.unit_price_cents, 1200);
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap(), hold);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_the_end_and_another_beginning_stop_it() {
    let (sale, product_id) = just_sold("an_optimistic_sale").await;
    for (change, undo, reason) in [
        ("paused = TRUE", "paused = FALSE", "SALE_PAUSED"),
        ("ends_at = UTC_TIMESTAMP(6)", "ends_at = NULL", "SALE_ENDED"),
        ("starts_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR", "starts_at = NULL", "SALE_NOT_STARTED"),
    ] {
        let refused = hold_after(&sale, product_id, change).await;
        assert_refused(refused, Code::FailedPrecondition, reason);
        hold_after(&sale, product_id, undo).await.unwrap();
    }
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (6, 4));
    // A window that is open is no obstacle.
    let open = "starts_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, ends_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR";
    hold_after(&sale, product_id, open).await.unwrap();
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_for_each_buyer_counts_from_its_moment_on() {
    let (sale, product_id) = just_sold("an_optimistic_limit").await;
    sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
    sale.database.execute("UPDATE products SET max_per_buyer = 2").await;
    let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    sale.clients().hold_by(hold_of("bob", product_id, 2)).await.unwrap();
    let refused = sale.clients().hold_by(hold_of("bob", product_id, 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    sale.finish().await;
}

/// Makes a product of 100 units, at most two for each buyer. This server has just sold one of them to zoe.
async fn just_sold_and_limited(name: &str) -> (Sale, i64) {
    let sale = Sale::start(name).await;
    let product_id = sale.product(100).await;
    sale.database.execute("UPDATE products SET max_per_buyer = 2").await;
    sale.clients().hold_by(hold_of("zoe", product_id, 1)).await.unwrap();
    (sale, product_id)
}

fn assert_over_limit(refused: Result<Hold, Status>, already_taken: &str) {
    let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!(metadata(&status)["alreadyTaken"], already_taken);
}

/// There is no look at the product, and none at what the buyer has.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_within_a_buyers_limit_is_one_script_too() {
    let sale = Sale::start("a_limited_hold_is_one_script").await;
    let product_id = sale.product(100).await;
    sale.database.execute("UPDATE products SET max_per_buyer = 2").await;
    let counted = CountedCheckout::open(&sale.database).await;
    let cost = async |buyer, qty| {
        let (answer, sent) = counted.hold(hold_of(buyer, product_id, qty)).await;
        (answer, (sent.queries, sent.executes))
    };
    assert_eq!(cost("ann", 1).await.1, (2, 3), "BEGIN, the product, the buyer, the script, its ids");
    assert_eq!(cost("ann", 1).await.1, (1, 1), "the script, its ids and its moment");
    assert_eq!(cost("bob", 2).await.1, (1, 1));
    let (refused, cost) = cost("bob", 1).await;
    assert_eq!(refused, Err(Error::Refused(Refusal::BuyerLimit { limit: 2, already_taken: 2 })));
    assert!(cost.0 > 1, "a refusal isn't decided by a script: {cost:?}");
    counted.close().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_buyer_got_from_another_server_counts_for_the_limit() {
    let (sale, product_id) = just_sold_and_limited("an_optimistic_limit_elsewhere").await;
    let other = TestServer::start(&sale.database).await;
    other.clients.hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    assert_over_limit(sale.clients().hold_by(hold_of("ann", product_id, 2)).await, "1");
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    assert_over_limit(other.clients.hold_by(hold_of("ann", product_id, 1)).await, "2");
    // An order's units count as those of its hold did.
    let hold = sale.clients().hold_by(hold_of("bob", product_id, 2)).await.unwrap();
    sale.clients().order(hold.hold_id).await.unwrap();
    sale.clients().hold_by(hold_of("cem", product_id, 1)).await.unwrap();
    assert_over_limit(sale.clients().hold_by(hold_of("bob", product_id, 1)).await, "2");
    other.stop().await;
    sale.finish().await;
}

/// The script has been sent, and waits for the product that another server has.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_buyer_gets_while_the_script_waits_counts_for_the_limit() {
    let (sale, product_id) = just_sold_and_limited("an_optimistic_limit_while_it_waits").await;
    let mut other = sale.database.connect().await;
    other.execute("BEGIN").await;
    other.execute("UPDATE products SET available_stock = available_stock - 2").await;
    let clients = sale.clients().clone();
    let asked = tokio::spawn(async move { clients.hold_by(hold_of("ann", product_id, 1)).await });
    sale.database.wait_for_waiter().await;
    other
        .execute(
            "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id, buyer_id)
             SELECT product_id, 2, unit_price_cents, expires_at, created_at, 'other', 'ann' FROM holds",
        )
        .await;
    other.execute("COMMIT").await;
    other.close().await;
    assert_over_limit(asked.await.unwrap(), "2");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_changed_counts_from_its_moment_on() {
    let (sale, product_id) = just_sold_and_limited("an_optimistic_limit_changed").await;
    sale.database.execute("UPDATE products SET max_per_buyer = 1").await;
    assert_over_limit(sale.clients().hold_by(hold_of("ann", product_id, 2)).await, "0");
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    sale.database.execute("UPDATE products SET max_per_buyer = 3").await;
    sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
    sale.database.execute("UPDATE products SET max_per_buyer = NULL").await;
    sale.clients().hold_by(hold_of("ann", product_id, 9)).await.unwrap();
    sale.finish().await;
}

/// Whoever orders or pays has a hold locked and waits for no product. So CreateHold must not wait for that hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_the_buyer_that_somebody_has_locked_is_not_waited_for() {
    let (sale, product_id) = just_sold_and_limited("an_optimistic_limit_and_a_lock").await;
    let hold = sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    let mut locker = sale.database.lock_rows(&format!("holds WHERE id = {}", hold.hold_id)).await;
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    assert_over_limit(sale.clients().hold_by(hold_of("ann", product_id, 1)).await, "2");
    locker.execute("ROLLBACK").await;
    locker.close().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_another_server_has_sold_are_not_sold_again() {
    let (sale, product_id) = just_sold("an_optimistic_stock").await;
    let other = TestServer::start(&sale.database).await;
    other.clients.hold(product_id, 8).await.unwrap();
    let status = assert_refused(sale.clients().hold(product_id, 2).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "1");
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    other.stop().await;
    sale.finish().await;
}

/// The script of a repeat fails by the unique key on request_id. Then the hold is looked up.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_hold_that_was_made() {
    let (sale, product_id) = just_sold("an_optimistic_repeat").await;
    let request = CreateHoldRequest { request_id: Some("mine".to_owned()), ..hold_of("ann", product_id, 2) };
    let hold = sale.clients().hold_by(request.clone()).await.unwrap();
    assert_eq!(sale.clients().hold_by(request.clone()).await.unwrap(), hold);
    sale.clients().hold(product_id, 1).await.unwrap();
    let other = CreateHoldRequest { qty: 3, ..request };
    assert_refused(sale.clients().hold_by(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!(sale.stock(product_id).await, 6);
    sale.finish().await;
}

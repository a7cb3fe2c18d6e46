//! Shows that `sweeper audit --repair` corrects available_stock where nothing else is wrong, and only there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::{
    shop::Shop,
    storm::{buy, short_settings},
};
use crate::support::{audit::DEFAULT_PAGE, client::Clients, server::Sale};

const BUYERS: usize = 8;
const PURCHASES: usize = 40;

#[tokio::test]
async fn what_follows_from_the_other_numbers_is_repaired_and_found_only_once() {
    let shop = Shop::open("audit_repair").await;
    let database = &shop.sale.database;
    let stock = "SELECT id, total_stock, available_stock FROM products ORDER BY id";
    let before = database.query_rows(stock).await;
    database.execute("UPDATE products SET available_stock = available_stock + 7 WHERE id = 2").await;
    database.execute("UPDATE products SET available_stock = 0").await;

    let looked = database.audit(DEFAULT_PAGE, false).await;
    assert_eq!(looked.names(), ["stock_not_conserved 1", "stock_not_conserved 2"]);
    assert_eq!(looked.report.repaired, 0);
    assert_ne!(database.query_rows(stock).await, before, "without --repair nothing is changed");

    let repaired = database.audit(DEFAULT_PAGE, true).await;
    assert_eq!(repaired.names(), ["stock_not_conserved 1", "stock_not_conserved 2"]);
    assert_eq!((repaired.report.repaired, repaired.report.complete), (2, true));
    assert!(repaired.report.verdict().is_err(), "a repaired fault is still a finding");
    assert_eq!(database.query_rows(stock).await, before);

    let again = database.audit(DEFAULT_PAGE, true).await;
    assert_eq!((again.report.findings, again.report.repaired), (0, 0));
    shop.sale.finish().await;
}

#[tokio::test]
async fn what_does_not_follow_is_left_alone() {
    let shop = Shop::open("audit_no_repair").await;
    shop.save().await;
    let database = &shop.sale.database;
    for (corruption, expected, repaired) in [
        ("UPDATE products SET total_stock = 1 WHERE id = 1", &["stock_out_of_bounds 1", "stock_oversold 1"][..], 0),
        // The finding is where the order went, and where its hold is.
        (
            "UPDATE orders SET product_id = 3 WHERE id = 2",
            &["order_product_differs 2", "stock_not_conserved 1", "stock_oversold 3", "webhook_product_differs 1"],
            0,
        ),
        // The product of another finding is left alone, and the other product is repaired.
        (
            "UPDATE products, orders SET available_stock = available_stock - 1, amount_cents = 1 \
             WHERE products.id < 3 AND orders.id = 1",
            &["order_amount_differs 1", "stock_not_conserved 1", "stock_not_conserved 2"],
            1,
        ),
    ] {
        database.execute(corruption).await;
        let wrong = database.query_rows("SELECT available_stock FROM products WHERE id = 1").await;
        let audited = database.audit(DEFAULT_PAGE, true).await;
        assert_eq!(audited.names(), expected, "{corruption}");
        assert_eq!(audited.report.repaired, repaired, "{corruption}");
        assert_eq!(database.query_rows("SELECT available_stock FROM products WHERE id = 1").await, wrong);
        shop.restore().await;
    }
    // A missing unique key may have let wrong rows into any product.
    database.execute("ALTER TABLE holds DROP KEY holds_request, ADD KEY holds_request (product_id, request_id)").await;
    database.execute("UPDATE products SET available_stock = 0 WHERE id = 1").await;
    let audited = database.audit(DEFAULT_PAGE, true).await;
    assert_eq!((audited.report.findings, audited.report.repaired), (2, 0));
    database
        .execute("ALTER TABLE holds DROP KEY holds_request, ADD UNIQUE KEY holds_request (product_id, request_id)")
        .await;
    shop.restore().await;
    shop.sale.finish().await;
}

/// Each of these transactions has done the half of its work that the repair must not see.
#[tokio::test]
async fn a_repair_waits_for_no_order_and_counts_no_open_transaction() {
    let shop = Shop::open("audit_repair_open").await;
    let database = &shop.sale.database;
    let expected = database.query_i64("SELECT available_stock FROM products WHERE id = 1").await;
    database.execute("UPDATE products SET available_stock = available_stock - 9 WHERE id = 1").await;

    // CreateOrder for hold 1 and ReleaseHold for hold 8 are before their COMMIT. The release hasn't written its product
    // yet.
    let (mut ordering, mut releasing) = (database.connect().await, database.connect().await);
    for statement in [
        "BEGIN",
        "UPDATE holds SET status = 'used' WHERE id = 1",
        "INSERT INTO orders (hold_id, product_id, qty, amount_cents, created_at, request_id) \
         SELECT id, product_id, qty, qty * unit_price_cents, created_at, request_id FROM holds WHERE id = 1",
    ] {
        ordering.execute(statement).await;
    }
    releasing.execute("BEGIN").await;
    releasing.execute("UPDATE holds SET status = 'cancelled' WHERE id = 8").await;

    let audited = database.audit(DEFAULT_PAGE, true).await;
    assert_eq!((audited.names(), audited.report.repaired), (vec!["stock_not_conserved 1".to_owned()], 1));
    assert_eq!(database.query_i64("SELECT available_stock FROM products WHERE id = 1").await, expected);

    releasing.execute("UPDATE products SET available_stock = available_stock + 8 WHERE id = 2").await;
    for mut connection in [ordering, releasing] {
        connection.execute("COMMIT").await;
        connection.close().await;
    }
    shop.sale.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repairs_in_a_storm_conserve_the_stock() {
    let sale = Sale::start_with("audit_repair_storm", short_settings()).await;
    sale.product(1_000).await;
    sale.product(100_000).await;
    let buying = Arc::new(AtomicUsize::new(BUYERS));
    let buyers = Clients::connect_several(&sale.server.address(), BUYERS).await;
    let buyers = join_all(buyers.into_iter().enumerate().map(|(buyer, clients)| {
        let buying = Arc::clone(&buying);
        tokio::spawn(async move {
            buy(clients, buyer, PURCHASES).await;
            buying.fetch_sub(1, Ordering::Relaxed);
        })
    }));
    let repairs = async {
        let mut repaired = 0;
        loop {
            let last = buying.load(Ordering::Relaxed) == 0;
            sale.database.execute("UPDATE products SET available_stock = available_stock - 5 WHERE id = 2").await;
            let audited = sale.database.audit(DEFAULT_PAGE, true).await;
            assert_eq!(audited.names(), ["stock_not_conserved 2"], "{:#?}", audited.findings);
            repaired += audited.report.repaired;
            if last {
                return repaired;
            }
        }
    };
    let (bought, repaired) = tokio::join!(buyers, repairs);
    bought.into_iter().for_each(|buyer| buyer.unwrap());
    assert!(repaired > 1, "{repaired} repairs");
    sale.finish().await;
}

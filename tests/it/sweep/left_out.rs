//! Shows that what can't be swept stops nothing else: wrong stock, locked products, contradictory orders.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::UNIX_EPOCH,
};

use flashsale::{
    checkout::expire_holds::expire_holds_of,
    config::Account,
    db::{Database, due::SweepScope},
    domain::ProductId,
    sweeper::{self, Sweep, SweepReport, Unswept},
};
use serde_json::{Value, json};

use crate::support::{
    mysqld::as_account,
    programs::{lines_of, sweep},
    proxy::Proxy,
    sale::product,
    server::{Sale, database_config},
};

const BATCH: usize = 2;

async fn run(sale: &Sale) -> (SweepReport, Result<(), Unswept>) {
    let sweep = sweeper::run(&sale.sweeper(BATCH), future::pending()).await.unwrap();
    let Sweep::Done(report) = sweep else { panic!("no other sweep is running") };
    (report, sweep.verdict())
}

/// Makes three products, each with more holds than a batch takes, which all expire at the same moment.
///
/// Their other times agree with that, so that an audit may repair.
async fn with_expired_holds(sale: &Sale) -> [i64; 3] {
    let products = [sale.product(10).await, sale.product(10).await, sale.product(10).await];
    for product_id in products {
        for _ in 0..5 {
            sale.clients().hold(product_id, 1).await.unwrap();
        }
    }
    sale.database.execute("UPDATE holds SET created_at = created_at - INTERVAL 1 HOUR").await;
    sale.expire_all_holds().await;
    products
}

async fn with_overdue_orders(sale: &Sale) -> [i64; 3] {
    let products = [sale.product(10).await, sale.product(10).await, sale.product(10).await];
    for product_id in products {
        for _ in 0..5 {
            sale.ordered(product_id, 1).await;
        }
    }
    sale.database.execute("UPDATE orders SET payment_due_at = created_at").await;
    products
}

/// Sets the stock to the total by hand, so that there is no room for the units that come back.
async fn put_back_by_hand(sale: &Sale, product_id: i64) {
    sale.database.execute(&format!("UPDATE products SET available_stock = 10 WHERE id = {product_id}")).await;
}

/// Returns the one line that names a product.
fn named<'l>(lines: &'l [Value], message: &str, product_id: i64) -> &'l Value {
    let lines = lines_of(lines, message);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["product_id"], json!(product_id));
    lines[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_whose_stock_is_wrong_is_named_once_and_all_others_are_swept() {
    let sale = Sale::start("wrong_stock_of_holds").await;
    let [first, wrong, last] = with_expired_holds(&sale).await;
    put_back_by_hand(&sale, wrong).await;

    let (code, lines, stderr) = sweep(&sale.database.url(), &[("FLASHSALE_SWEEP_BATCH", "2")]).await;
    assert_eq!(code, 1);
    assert!(stderr.starts_with("the sweeper failed: products left out: 1. See"), "{stderr}");
    let line = named(&lines, "Product left out of the sweep", wrong);
    assert_eq!(line["level"], "ERROR");
    assert!(line["what_to_do"].as_str().unwrap().contains("sweeper audit --repair"), "{line}");
    assert!(line["why"].as_str().unwrap().starts_with("available_stock is 10 of 10"), "{line}");
    let report = lines.last().unwrap();
    assert_eq!((&report["message"], &report["holds_expired"]), (&json!("Sweep done"), &json!(10)));
    assert_eq!((&report["products_faulty"], &report["products_locked"]), (&json!(1), &json!(0)));
    assert_eq!((sale.stock(first).await, sale.stock(last).await), (10, 10));
    assert_eq!(sale.count(&format!("holds WHERE status = 'active' AND product_id = {wrong}")).await, 5);

    assert_eq!(sale.database.audit(1, true).await.report.repaired, 1);
    let (report, verdict) = run(&sale).await;
    assert_eq!((report.holds_expired, report.products_faulty, verdict), (5, 0, Ok(())));
    assert_eq!(sale.stock(wrong).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_orders_of_a_product_whose_stock_is_wrong_are_left_out_and_all_others_cancelled() {
    let sale = Sale::start("wrong_stock_of_orders").await;
    let [first, wrong, last] = with_overdue_orders(&sale).await;
    put_back_by_hand(&sale, wrong).await;

    let (report, verdict) = run(&sale).await;
    assert_eq!((report.orders_cancelled, report.products_faulty), (10, 1));
    assert_eq!(verdict, Err(Unswept::FaultyProducts(1)));
    assert_eq!((sale.stock(first).await, sale.stock(last).await), (10, 10));
    assert_eq!(sale.count(&format!("orders WHERE status = 'pending' AND product_id = {wrong}")).await, 5);

    sale.database.audit(1, true).await;
    let (report, verdict) = run(&sale).await;
    assert_eq!((report.orders_cancelled, verdict), (5, Ok(())));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_is_gone_is_left_out_and_all_others_are_swept() {
    let sale = Sale::start("a_product_is_gone").await;
    let [first, gone, last] = with_expired_holds(&sale).await;
    let database = &sale.database;
    database.execute(&format!("CREATE TABLE saved AS SELECT * FROM products WHERE id = {gone}")).await;
    database.execute(&format!("DELETE FROM products WHERE id = {gone}")).await;

    let (report, verdict) = run(&sale).await;
    assert_eq!((report.holds_expired, report.products_faulty, report.products_locked), (10, 1, 0));
    assert_eq!(verdict, Err(Unswept::FaultyProducts(1)));
    assert_eq!((sale.stock(first).await, sale.stock(last).await), (10, 10));

    database.execute("INSERT INTO products SELECT * FROM saved").await;
    let (report, verdict) = run(&sale).await;
    assert_eq!((report.holds_expired, verdict), (5, Ok(())));
    sale.finish().await;
}

/// The order would fail a batch, and also CreateHold when that takes overdue orders back.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_contradicts_its_hold_is_left_out_by_the_sweep_and_by_create_hold() {
    let sale = Sale::start("an_order_contradicts_its_hold").await;
    let product_id = sale.product(3).await;
    let wrong = sale.ordered(product_id, 1).await;
    for _ in 0..2 {
        sale.ordered(product_id, 1).await;
    }
    sale.let_all_orders_be_overdue().await;
    let set = async |status: &str| {
        sale.database.execute(&format!("UPDATE holds SET status = '{status}' WHERE id = {}", wrong.hold_id)).await;
    };
    set("cancelled").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.stored_stock(product_id).await, 1);
    assert_eq!(sale.order_status(wrong.order_id).await, "pending");

    let other = sale.ordered(product_id, 1).await;
    sale.let_all_orders_be_overdue().await;
    let (code, lines, _) = sweep(&sale.database.url(), &[("FLASHSALE_SWEEP_BATCH", "1")]).await;
    assert_eq!(code, 1);
    let line = named(&lines, "Product left out of the sweep", product_id);
    let why = format!("order {} is pending, and its hold {} is Cancelled, not Used", wrong.order_id, wrong.hold_id);
    assert_eq!(line["why"], json!(why));
    assert_eq!(sale.order_status(other.order_id).await, "cancelled");

    set("used").await;
    assert_eq!(run(&sale).await.0.orders_cancelled, 1);
    assert_eq!(sale.stock(product_id).await, 2);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_hold_is_missing_is_left_out() {
    let sale = Sale::start("an_order_without_a_hold").await;
    let product_id = sale.product(3).await;
    let (wrong, other) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    sale.let_all_orders_be_overdue().await;
    let database = &sale.database;
    database.execute(&format!("CREATE TABLE saved AS SELECT * FROM holds WHERE id = {}", wrong.hold_id)).await;
    database.execute(&format!("DELETE FROM holds WHERE id = {}", wrong.hold_id)).await;
    let (report, verdict) = run(&sale).await;
    assert_eq!((report.orders_cancelled, verdict), (1, Err(Unswept::FaultyProducts(1))));
    assert_eq!(sale.order_status(other.order_id).await, "cancelled");
    database.execute("INSERT INTO holds SELECT * FROM saved").await;
    assert_eq!(run(&sale).await.0.orders_cancelled, 1);
    sale.finish().await;
}

/// Somebody's console locks the row. Nothing is wrong, so cron mails nothing, and the next sweep does the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_whose_row_somebody_keeps_locked_is_named_and_all_others_are_swept() {
    let sale = Sale::start("a_locked_product").await;
    let [first, locked, last] = with_expired_holds(&sale).await;
    let [_, locked_too, _] = with_overdue_orders(&sale).await;
    let mut holders = Vec::new();
    for product_id in [locked, locked_too] {
        holders.push(sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await);
    }

    let (code, lines, stderr) = sweep(&sale.database.url(), &[("FLASHSALE_SWEEP_BATCH", "2")]).await;
    assert_eq!((code, &*stderr), (0, ""));
    let left = lines_of(&lines, "Product left to the next sweep");
    let left: Vec<_> = left.iter().map(|line| (line["product_id"].as_i64().unwrap(), &line["level"])).collect();
    assert_eq!(left, [(locked, &json!("WARN")), (locked_too, &json!("WARN"))]);
    let report = lines.last().unwrap();
    assert_eq!((&report["holds_expired"], &report["orders_cancelled"]), (&json!(10), &json!(10)));
    assert_eq!((&report["products_faulty"], &report["products_locked"]), (&json!(0), &json!(2)));
    assert_eq!((sale.stock(first).await, sale.stock(last).await), (10, 10));

    for mut holder in holders {
        holder.execute("ROLLBACK").await;
    }
    let (report, verdict) = run(&sale).await;
    assert_eq!((report.holds_expired, report.orders_cancelled), (5, 5));
    assert_eq!((report.products_locked, verdict), (0, Ok(())));
    sale.finish().await;
}

/// Each wait costs the sweep seconds, and thousands of products may be locked.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_products_are_locked_a_sweep_waits_for_five_of_them() {
    let sale = Sale::start("all_products_are_locked").await;
    for _ in 0..7 {
        let product_id = sale.clients().try_create_product(product(10)).await.unwrap().product_id;
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    sale.expire_all_holds().await;
    let mut holder = sale.database.lock_rows("products").await;
    let (code, lines, _) = sweep(&sale.database.url(), &[]).await;
    assert_eq!((code, &lines.last().unwrap()["products_locked"]), (0, &json!(7)));
    let left = lines_of(&lines, "Product left to the next sweep");
    let waited_for = left.iter().filter(|line| line["waited"] == json!(true)).count();
    assert_eq!((left.len(), waited_for), (7, 5));
    holder.execute("ROLLBACK").await;
    assert_eq!(run(&sale).await.0.holds_expired, 7);
    sale.finish().await;
}

/// A repeat of CreateOrder, or somebody's console, has locked the hold.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_order_whose_hold_is_locked_is_left_to_the_next_sweep_without_a_wait() {
    let sale = Sale::start("an_orders_hold_is_locked").await;
    let product_id = sale.product(10).await;
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(sale.ordered(product_id, 1).await);
    }
    sale.let_all_orders_be_overdue().await;
    let mut holders = Vec::new();
    for order in &orders[..3] {
        holders.push(sale.database.lock_rows(&format!("holds WHERE id = {}", order.hold_id)).await);
    }

    let (report, verdict) = run(&sale).await;
    assert_eq!((report.orders_cancelled, verdict), (2, Ok(())));
    assert_eq!((report.products_faulty, report.products_locked), (0, 0));
    for mut holder in holders {
        holder.execute("ROLLBACK").await;
    }
    assert_eq!(run(&sale).await.0.orders_cancelled, 3);
    sale.finish().await;
}

/// The read of the products costs one round trip and the progress none, so a sweep stays fast.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_four_round_trips_also_of_a_busy_product() {
    let sale = Sale::start("round_trips_of_a_batch").await;
    let product_id = sale.product(10).await;
    for _ in 0..4 {
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    sale.expire_all_holds().await;
    let proxy = Proxy::start(sale.database.port()).await;
    let url = as_account(Account::Sweeper, &sale.database.url_at(proxy.port()));
    let database = Database::new(&database_config(&url, 1)).unwrap();
    for of in [SweepScope::AllProducts, SweepScope::Product(ProductId::stored(product_id))] {
        for is_first in [true, false] {
            let before = proxy.counts();
            assert_eq!(expire_holds_of(&database, of, UNIX_EPOCH.into(), 1).await.unwrap().rows, 1);
            let sent = proxy.counts() - before;
            // The first batch connects and prepares its statements.
            assert!(is_first || (sent.queries, sent.executes, sent.prepares) == (2, 2, 0), "{of:?}: {sent:?}");
        }
    }
    sale.finish().await;
}

/// The product's row is nearly always locked, and never for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_is_being_sold_all_the_time_is_swept_all_the_same() {
    let sale = Sale::start("a_hot_product_is_swept").await;
    let product_id = sale.product(1_000_000).await;
    for _ in 0..30 {
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    sale.expire_all_holds().await;
    let over = Arc::new(AtomicBool::new(false));
    let sellers: Vec<_> = (0..8)
        .map(|_| {
            let (clients, over) = (sale.clients().clone(), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    clients.hold(product_id, 1).await.unwrap();
                }
            })
        })
        .collect();
    let (report, verdict) = run(&sale).await;
    over.store(true, Ordering::Relaxed);
    for seller in sellers {
        seller.await.unwrap();
    }
    assert_eq!((report.holds_expired, report.products_locked, verdict), (30, 0, Ok(())));
    sale.finish().await;
}

//! Covers `sweeper purge`: what goes, what stays, and the books before, between and after.

mod at_work;

use std::{
    future::{self, Future},
    time::Duration,
};

use flashsale::{
    checkout::purge::PurgedRows,
    pb::{CreateProductRequest, Order, PaymentStatus, Product},
    sweeper::purge::{self, PurgeReport},
};
use tonic::Code;

use crate::support::{
    client::assert_refused,
    sale::{event, hold_of, product},
    server::Sale,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AFTER: Duration = DAY.saturating_mul(90);
const BATCH: usize = 2;

/// Makes all rows older by 100 days.
async fn age(sale: &Sale) {
    for (table, columns) in [
        ("holds", &["created_at", "expires_at"][..]),
        ("orders", &["created_at", "payment_due_at", "settled_at"]),
        ("payment_webhooks", &["created_at"]),
        ("payment_exceptions", &["created_at", "resolved_at"]),
        ("stock_adjustments", &["created_at"]),
        ("products", &["created_at", "starts_at", "ends_at"]),
    ] {
        let moved: Vec<String> =
            columns.iter().map(|column| format!("{column} = {column} - INTERVAL 100 DAY")).collect();
        sale.database.move_times(&format!("UPDATE {table} SET {}", moved.join(", "))).await;
    }
}

/// Runs a purge to its end, with a clean audit before and after it.
async fn purge(sale: &Sale, dry_run: bool) -> PurgeReport {
    sale.database.assert_audit_clean().await;
    let report = purge_until(sale, dry_run, future::pending()).await;
    assert!(report.complete);
    sale.database.assert_audit_clean().await;
    report
}

async fn purge_until(sale: &Sale, dry_run: bool, shutdown: impl Future<Output = ()>) -> PurgeReport {
    purge::run(&sale.purger(BATCH), AFTER, dry_run, shutdown).await.unwrap()
}

/// Puts a product on sale whose sale is over as soon as somebody says so by [`end_sale`].
async fn limited_sale(sale: &Sale, total_stock: i64) -> i64 {
    let ends_at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let request = CreateProductRequest { ends_at, ..product(total_stock) };
    sale.clients().try_create_product(request).await.unwrap().product_id
}

/// Ends a sale a moment ago.
async fn end_sale(sale: &Sale, product_id: i64) {
    let sql = format!("UPDATE products SET ends_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id = {product_id}");
    sale.database.move_times(&sql).await;
}

async fn paid(sale: &Sale, product_id: i64, key: &str) -> Order {
    let order = sale.ordered(product_id, 1).await;
    sale.clients().pay(key, order.order_id, PaymentStatus::Success).await.unwrap();
    order
}

async fn failed(sale: &Sale, product_id: i64, key: &str) -> Order {
    let order = sale.ordered(product_id, 1).await;
    sale.clients().pay(key, order.order_id, PaymentStatus::Failure).await.unwrap();
    order
}

/// Returns the ids that are left in a table.
async fn ids(sale: &Sale, table: &str) -> Vec<i64> {
    let rows = sale.database.query_rows(&format!("SELECT id FROM {table} ORDER BY id")).await;
    rows.iter().map(|row| row[0].parse().unwrap()).collect()
}

fn rows(holds: usize, orders: usize, events: usize, exceptions: usize) -> PurgedRows {
    PurgedRows { holds, orders, events, exceptions, ..PurgedRows::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_and_what_is_open_sold_or_younger_stays() {
    let sale = Sale::start("purge_goes_and_stays").await;
    let clients = sale.clients();
    let product_id = sale.product(100).await;
    let mut expired = Vec::new();
    for _ in 0..3 {
        expired.push(clients.hold(product_id, 2).await.unwrap().hold_id);
    }
    sale.expire_all_holds().await;
    let (released, active) = (clients.hold(product_id, 1).await.unwrap(), clients.hold(product_id, 1).await.unwrap());
    clients.release(released.hold_id).await.unwrap();
    let (sold, owed) = (paid(&sale, product_id, "paid").await, sale.ordered(product_id, 1).await);
    let gone = failed(&sale, product_id, "failed").await;
    clients.pay("late, and resolved", gone.order_id, PaymentStatus::Success).await.unwrap();
    clients.resolve(1, "refunded").await.unwrap();
    let cancelled = sale.ordered(product_id, 1).await;
    clients.cancel(cancelled.order_id).await.unwrap();
    let in_doubt = failed(&sale, product_id, "failed, too").await;
    clients.pay("late", in_doubt.order_id, PaymentStatus::Success).await.unwrap();
    crate::support::programs::sweep(&sale.database.url(), &[]).await;
    age(&sale).await;
    let young = clients.hold(product_id, 1).await.unwrap();
    clients.release(young.hold_id).await.unwrap();
    let heard_of = failed(&sale, product_id, "failed once more").await;
    let old = "created_at = created_at - INTERVAL 100 DAY";
    for older in [
        format!("UPDATE holds SET {old}, expires_at = expires_at - INTERVAL 100 DAY WHERE id = {}", heard_of.hold_id),
        format!("UPDATE orders SET {old}, settled_at = settled_at - INTERVAL 100 DAY WHERE id = {}", heard_of.order_id),
    ] {
        sale.database.move_times(&older).await;
    }
    let stock = sale.stored_stock(product_id).await;

    let dry = purge(&sale, true).await;
    assert_eq!((dry.rows, dry.kept), (rows(6, 2, 2, 1), 2));
    assert_eq!(ids(&sale, "holds").await.len(), 12, "a dry run deletes nothing");
    let done = purge(&sale, false).await;
    assert_eq!((done.rows, done.kept), (dry.rows, dry.kept));
    let stays = [active.hold_id, sold.hold_id, owed.hold_id, in_doubt.hold_id, young.hold_id, heard_of.hold_id];
    assert_eq!(ids(&sale, "holds").await, stays);
    let stays = [sold.order_id, owed.order_id, in_doubt.order_id, heard_of.order_id];
    assert_eq!(ids(&sale, "orders").await, stays);
    assert_eq!((sale.count("payment_webhooks").await, ids(&sale, "payment_exceptions").await), (4, vec![2]));
    assert_eq!(sale.stored_stock(product_id).await, stock);
    assert_refused(clients.get_hold(expired[0]).await, Code::NotFound, "HOLD_NOT_FOUND");
    let late = clients.pay("very late", gone.order_id, PaymentStatus::Success).await;
    assert_refused(late, Code::NotFound, "ORDER_NOT_FOUND");

    clients.resolve(2, "refunded").await.unwrap();
    age(&sale).await;
    assert_eq!(purge(&sale, false).await.rows, rows(3, 2, 3, 1));
    assert_eq!(purge(&sale, false).await.rows, rows(0, 0, 0, 0));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_sale_goes_as_a_whole_and_leaves_what_operators_did() {
    let sale = Sale::start("purge_finished_sale").await;
    let clients = sale.clients();
    let (over, goes_on) = (limited_sale(&sale, 10).await, limited_sale(&sale, 10).await);
    let endless = sale.product(10).await;
    for (number, product_id) in [over, goes_on, endless, over, over].into_iter().enumerate() {
        let order = paid(&sale, product_id, &format!("paid {number}")).await;
        clients.pay(&format!("twice {number}"), order.order_id, PaymentStatus::Success).await.unwrap();
        clients.resolve(i64::try_from(number).unwrap() + 1, "refunded").await.unwrap();
    }
    failed(&sale, over, "failed").await;
    clients.adjust(over, 5, "pallet").await.unwrap();
    clients.adjust(over, -2, "damage").await.unwrap();
    end_sale(&sale, over).await;
    assert_eq!(purge(&sale, false).await.rows, rows(0, 0, 0, 0), "it is over since a moment only");
    age(&sale).await;
    end_sale(&sale, endless).await;
    sale.database.move_times(&format!("UPDATE products SET ends_at = NULL WHERE id = {endless}")).await;
    sale.database.move_times(&format!("UPDATE products SET ends_at = '2100-01-01' WHERE id = {goes_on}")).await;

    let expected = PurgedRows { adjustments: 2, products: 1, ..rows(4, 4, 7, 3) };
    assert_eq!(purge(&sale, true).await.rows, expected);
    assert_eq!(purge(&sale, false).await.rows, expected);
    assert_refused(clients.product(over).await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_refused(clients.hold(over, 1).await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(ids(&sale, "products").await, [goes_on, endless]);
    assert_eq!(sale.count("orders").await, 2);
    let actions = format!("operator_actions WHERE product_id = {over}");
    assert!(sale.count(&actions).await >= 3, "who did what stays");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_with_anything_open_or_younger_keeps_its_sold_units() {
    for (number, open) in [
        "UPDATE payment_exceptions SET resolved_at = NULL, note = NULL",
        "UPDATE payment_exceptions SET resolved_at = UTC_TIMESTAMP(6)",
        "UPDATE stock_adjustments SET created_at = UTC_TIMESTAMP(6)",
        "UPDATE orders SET settled_at = UTC_TIMESTAMP(6) WHERE id = 1",
        "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) WHERE id = 1",
        "UPDATE products SET ends_at = UTC_TIMESTAMP(6) - INTERVAL 89 DAY",
        "UPDATE products SET ends_at = NULL",
        "hold",
        "order",
    ]
    .into_iter()
    .enumerate()
    {
        let sale = Sale::start(&format!("purge_open_{number}")).await;
        let product_id = limited_sale(&sale, 10).await;
        let twice = paid(&sale, product_id, "paid").await;
        paid(&sale, product_id, "paid, too").await;
        sale.clients().pay("twice", twice.order_id, PaymentStatus::Success).await.unwrap();
        sale.clients().resolve(1, "refunded").await.unwrap();
        sale.clients().adjust(product_id, 5, "pallet").await.unwrap();
        match open {
            "hold" => drop(sale.clients().hold(product_id, 1).await.unwrap()),
            "order" => drop(sale.ordered(product_id, 1).await),
            _ => {}
        }
        end_sale(&sale, product_id).await;
        age(&sale).await;
        if open.starts_with("UPDATE") {
            sale.database.move_times(open).await;
        }
        let before = (sale.count("holds").await, sale.count("orders").await, sale.count("stock_adjustments").await);
        for dry_run in [true, false] {
            assert_eq!(purge(&sale, dry_run).await.rows, rows(0, 0, 0, 0), "{open}");
        }
        let after = (sale.count("holds").await, sale.count("orders").await, sale.count("stock_adjustments").await);
        assert_eq!(after, before, "{open}");
        sale.finish().await;
    }
}

/// One order has a young event. The rest of the sale goes, and its units leave the total.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_of_a_finished_sale_has_right_books() {
    let sale = Sale::start("purge_what_stays").await;
    let product_id = limited_sale(&sale, 10).await;
    for number in 0..5 {
        paid(&sale, product_id, &format!("paid {number}")).await;
    }
    let stays = paid(&sale, product_id, "stays").await;
    sale.clients().adjust(product_id, 5, "pallet").await.unwrap();
    end_sale(&sale, product_id).await;
    age(&sale).await;
    sale.clients().pay("now", stays.order_id, PaymentStatus::Failure).await.unwrap();
    let expected = PurgedRows { adjustments: 1, ..rows(5, 5, 5, 0) };
    assert_eq!(purge(&sale, true).await.rows, expected);
    let done = purge(&sale, false).await;
    assert_eq!((done.rows, done.kept), (expected, 1));
    let stats = sale.clients().stats(product_id).await.unwrap();
    assert_eq!((stats.total_stock, stats.available_stock, stats.paid_stock), (10, 9, 1));
    sale.clients().adjust(product_id, 2, "found").await.unwrap();
    sale.finish().await;
}

/// A row that contradicts another is for a person to look at, so a purge leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_contradict_each_other_stay() {
    let sale = Sale::start("purge_contradictions").await;
    let product_id = limited_sale(&sale, 10).await;
    let clients = sale.clients();
    let used = paid(&sale, product_id, "one").await;
    let cancelled = failed(&sale, product_id, "two").await;
    let expired = sale.ordered(product_id, 1).await;
    let of_another = failed(&sale, product_id, "four").await;
    clients.pay_by(event("five", of_another.order_id, PaymentStatus::Success, None)).await.unwrap();
    clients.resolve(1, "refunded").await.unwrap();
    end_sale(&sale, product_id).await;
    age(&sale).await;
    for sql in [
        format!("UPDATE orders SET status = 'cancelled' WHERE id = {}", used.order_id),
        format!("UPDATE orders SET status = 'paid' WHERE id = {}", cancelled.order_id),
        format!("UPDATE orders SET status = 'paid' WHERE id = {}", expired.order_id),
        format!("UPDATE holds SET status = 'expired' WHERE id = {}", expired.hold_id),
        format!("UPDATE payment_exceptions SET order_id = {}", used.order_id),
        "UPDATE orders SET settled_at = created_at".to_owned(),
    ] {
        sale.database.move_times(&sql).await;
    }
    let report = purge_until(&sale, false, future::pending()).await;
    assert_eq!((report.rows, report.kept), (rows(0, 0, 0, 0), 4));
    sale.database.assert_no_open_transactions().await;
}

/// The limit for each buyer counts what is active or used, and none of it goes while the sale goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_is_over_the_limit_after_a_purge_as_before() {
    let sale = Sale::start("purge_limit").await;
    let request = CreateProductRequest { max_per_buyer: Some(2), ..product(10) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;
    let held = sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
    sale.clients().order(held.hold_id).await.unwrap();
    sale.clients().pay("paid", 1, PaymentStatus::Success).await.unwrap();
    age(&sale).await;
    assert_eq!(purge(&sale, false).await.rows, rows(0, 0, 0, 0));
    let more = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    assert_refused(more, Code::FailedPrecondition, "BUYER_LIMIT");
    let renamed = Product { product_id, name: "Boot".to_owned(), ..Product::default() };
    sale.clients().update(renamed, &["name"]).await.unwrap();
    sale.finish().await;
}

//! Shows that `sweeper audit` finds each fault and nothing else, also while the sale goes on.

mod clock;
mod corruptions;
mod program;
mod repair;
mod shop;
mod storm;

use flashsale::{
    config::Account,
    db::{
        Connection, Database,
        audit::{self, Range, TABLES},
    },
};

use self::shop::Shop;
use crate::support::{
    audit::DEFAULT_PAGE,
    server::{Sale, database_config},
};

#[tokio::test]
async fn a_shop_with_every_state_is_clean_however_small_the_pages() {
    let shop = Shop::open("audit_clean").await;
    for page in [1, 2, 3, DEFAULT_PAGE] {
        let audited = shop.sale.database.audit(page, false).await;
        assert_eq!(audited.names(), Vec::<String>::new(), "{page} rows a page");
        assert_eq!(audited.report.rows, [8, 4, 7, 3, 3, 3], "{page} rows a page");
        assert!(audited.report.complete);
        assert_eq!((audited.report.findings, audited.report.repaired), (0, 0));
    }
    shop.sale.finish().await;
}

#[tokio::test]
async fn what_nobody_has_swept_yet_is_counted_and_is_no_fault() {
    let sale = Sale::start("audit_untidy").await;
    let product = sale.product(10).await;
    for _ in 0..3 {
        sale.clients().hold(product, 1).await.unwrap();
    }
    sale.ordered(product, 1).await;
    let database = &sale.database;
    database.execute("UPDATE holds SET created_at = created_at - INTERVAL 1 HOUR").await;
    sale.expire_all_holds().await;
    database.execute("UPDATE orders SET payment_due_at = created_at").await;

    let audited = database.audit(DEFAULT_PAGE, false).await;
    let names = audited.names();
    assert_eq!(names, Vec::<String>::new());
    assert_eq!((audited.report.untidy.holds_unswept, audited.report.untidy.orders_overdue), (3, 1));
    sale.finish().await;
}

/// An audit under READ UNCOMMITTED would find faults here, and an audit that locks would never end.
#[tokio::test]
async fn an_open_transaction_is_neither_seen_nor_waited_for() {
    let shop = Shop::open("audit_open").await;
    let mut open = shop.sale.database.connect().await;
    open.execute("BEGIN").await;
    for statement in [
        "SELECT * FROM products FOR UPDATE",
        "UPDATE products SET available_stock = 0, total_stock = 500",
        "UPDATE holds SET status = 'used', expires_at = created_at - INTERVAL 1 HOUR",
        "UPDATE orders SET status = 'pending', qty = qty + 1",
        "DELETE FROM payment_webhooks",
        "DELETE FROM stock_adjustments",
    ] {
        open.execute(statement).await;
    }
    let audited = shop.sale.database.audit(DEFAULT_PAGE, false).await;
    let names = audited.names();
    assert_eq!(names, Vec::<String>::new());
    open.execute("ROLLBACK").await;
    open.close().await;
    shop.sale.finish().await;
}

#[tokio::test]
async fn a_suspicion_that_the_second_look_does_not_share_is_no_finding() {
    let shop = Shop::open("audit_confirm").await;
    let database = Database::new(&database_config(&shop.sale.database.url_for(Account::Auditor), 1)).unwrap();
    let all = Range { after: i64::MIN, up_to: i64::MAX };
    let table = TABLES.iter().find(|table| table.name == "holds").unwrap();

    shop.sale.database.execute("UPDATE holds SET status = 'used' WHERE id IN (2, 3)").await;
    let suspects = database.read("test", async |conn: &mut Connection, _| audit::suspects(conn, table, all).await);
    let suspects = suspects.await.unwrap();
    let [(check, ids)] = &suspects[..] else { panic!("{suspects:?}") };
    assert_eq!((check.kind, &ids[..]), ("hold_used_without_order", &[2, 3][..]));

    shop.sale.database.execute("UPDATE holds SET status = 'cancelled' WHERE id = 2").await;
    let confirmed =
        database.read("test", async |conn: &mut Connection, _| audit::confirm(conn, table, check, ids).await);
    let confirmed: Vec<_> = confirmed.await.unwrap().iter().map(|finding| finding.hold_id).collect();
    assert_eq!(confirmed, [Some(3)]);
    shop.sale.database.execute("UPDATE holds SET status = 'expired' WHERE id = 3").await;
    shop.sale.finish().await;
}

/// A statement that reads a whole table for each row, or for each page, would take quadratic time.
#[tokio::test]
async fn no_statement_reads_a_whole_table() {
    let shop = Shop::open("audit_explain").await;
    shop.fill(1_000).await;
    let mut connection = shop.sale.database.connect().await;
    for table in TABLES {
        let sql = table.suspects_sql();
        let (before, after) = sql.split_once('?').unwrap();
        let sql = format!("EXPLAIN FORMAT=TRADITIONAL {before}100{}", after.replacen('?', "200", 1));
        let rows = connection.query_rows(&sql).await;
        assert!(rows.len() > 1, "{sql}");
        for row in rows {
            // A result that the statement makes itself is no larger than a page, and its name is in angle brackets.
            let whole = row.iter().any(|column| column == "ALL" || column == "index");
            assert!(!whole || row[2].starts_with('<'), "{}: {row:?}", table.name);
        }
    }
    connection.close().await;
    shop.sale.finish().await;
}

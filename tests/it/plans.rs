//! How the database runs the statements of the operator's RPCs and of CreateHold when it is short of stock.
//!
//! The statements are taken from the server's own log of what the service sent, so none can differ from what is looked
//! at here.

use flashsale::pb::{CreateProductRequest, ListPaymentExceptionsRequest, PaymentStatus};

use crate::support::{
    database::{RawConnection, TestDatabase},
    mysqld::Mysqld,
    sale::{hold_of, product},
    server::TestServer,
};

/// A table of a statement, the index that it goes by, and whether the index alone is read.
type TablePlan = (&'static str, &'static str, bool);

/// What the statement is LIKE, and the plan of each of its tables.
const PLANS: [(&str, &[TablePlan]); 14] = [
    ("SELECT UNHEX(buyer) AS buyer_id%", &[("holds", "holds_buyer", true)]),
    ("SELECT id FROM JSON_TABLE(%", &[("holds", "holds_buyer", true)]),
    (
        "%FROM orders FORCE INDEX (orders_product_due) % ORDER BY payment_due_at%",
        &[("orders", "orders_product_due", false)],
    ),
    ("%FROM holds FORCE INDEX (PRIMARY) WHERE id IN % SKIP LOCKED%", &[("holds", "PRIMARY", false)]),
    (
        "%AS any_to_take_back, NULL AS buyer_id%",
        &[
            ("products", "PRIMARY", false),
            ("holds", "holds_product_expiry", true),
            ("orders", "orders_product_due", true),
        ],
    ),
    (
        "%AS any_to_take_back, taken.*%",
        &[
            ("products", "PRIMARY", false),
            ("holds", "holds_product_expiry", true),
            ("orders", "orders_product_due", true),
            ("holds", "holds_buyer", true),
        ],
    ),
    (
        "SELECT id, price_cents%AS lapsed_ordered FROM products%",
        &[
            ("products", "PRIMARY", false),
            ("holds", "holds_product_expiry", false),
            ("orders", "orders_product_due", false),
        ],
    ),
    (
        "SELECT (SELECT CAST(COALESCE(SUM(qty)%AS lapsed_ordered",
        &[("holds", "holds_product_expiry", false), ("orders", "orders_product_due", false)],
    ),
    (
        "%SELECT total_stock, available_stock, CAST(COALESCE(held_stock%",
        &[
            ("products", "PRIMARY", false),
            ("holds", "holds_product_expiry", false),
            ("orders", "orders_product_due", false),
            ("orders", "orders_product_due", false),
            ("holds", "holds_product_expiry", true),
            ("orders", "orders_product_due", true),
        ],
    ),
    ("%FROM stock_adjustments%", &[("stock_adjustments", "stock_adjustments_request", false)]),
    ("%FROM payment_exceptions FORCE INDEX (PRIMARY)%", &[("payment_exceptions", "PRIMARY", false)]),
    (
        "%FROM payment_exceptions FORCE INDEX (payment_exceptions_open)%",
        &[("payment_exceptions", "payment_exceptions_open", false)],
    ),
    (
        "%FROM payment_exceptions FORCE INDEX (payment_exceptions_product)%",
        &[("payment_exceptions", "payment_exceptions_product", false)],
    ),
    (
        "%FROM payment_exceptions FORCE INDEX (payment_exceptions_product_open)%",
        &[("payment_exceptions", "payment_exceptions_product_open", false)],
    ),
];

/// One table of a plan.
#[derive(Debug)]
struct Access {
    table: String,
    /// How: ALL and index read every row, const, eq_ref, ref and range do not.
    kind: String,
    key: String,
    extra: String,
}

async fn explain(connection: &mut RawConnection, statement: &str) -> Vec<Access> {
    let rows = connection.query_rows(&format!("EXPLAIN {statement}")).await;
    let accesses = rows.into_iter().map(|row| {
        // MySQL has a column for partitions before the kind, and one for what a filter leaves before the extras.
        let shift = usize::from(row.len() == 12);
        let extra = row.last().unwrap().clone();
        Access { table: row[2].clone(), kind: row[3 + shift].clone(), key: row[5 + shift].clone(), extra }
    });
    accesses.collect()
}

/// Rows of several products, as many as make the optimizer think.
async fn fill(database: &TestDatabase) {
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 900)";
    for sql in [
        format!(
            "INSERT INTO holds (product_id, qty, unit_price_cents, status, expires_at, created_at, request_id)
             {numbers} SELECT 10 + n % 5, 1, 1, ELT(1 + n % 4, 'active', 'used', 'expired', 'cancelled'),
             '2030-01-01', UTC_TIMESTAMP(6), n FROM numbers"
        ),
        format!(
            "INSERT INTO orders (hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id)
             {numbers} SELECT 10000 + n, 10 + n % 5, 1, 1, ELT(1 + n % 3, 'pending', 'paid', 'cancelled'),
             '2030-01-01', UTC_TIMESTAMP(6), n FROM numbers"
        ),
        format!(
            "INSERT INTO payment_exceptions (kind, order_id, product_id, idempotency_key, created_at, resolved_at, note)
             {numbers} SELECT 'late_success', n, 1 + n % 5, n, UTC_TIMESTAMP(6), IF(n % 3, UTC_TIMESTAMP(6), NULL),
             IF(n % 3, 'n', NULL) FROM numbers"
        ),
        "ANALYZE TABLE holds, orders, payment_exceptions".to_owned(),
    ] {
        database.execute(&sql).await;
    }
}

/// Calls everything whose statements are looked at.
async fn call(server: &TestServer, database: &TestDatabase) {
    let clients = &server.clients;
    let product_id = clients.create_product("Shoe", 1000, 1).await.product_id;
    clients.adjust(product_id, 1, "r").await.unwrap();
    for _ in 0..2 {
        let hold = clients.hold(product_id, 1).await.unwrap();
        let order = clients.order(hold.hold_id).await.unwrap();
        assert!(clients.hold(product_id, 2).await.is_err());
        assert!(clients.hold(product_id, 2).await.is_err());
        let sql = format!("UPDATE orders SET payment_due_at = '2000-01-01' WHERE id = {}", order.order_id);
        database.move_times(&sql).await;
    }
    let request = CreateProductRequest { max_per_buyer: Some(1), ..product(2) };
    let limited = clients.try_create_product(request).await.unwrap().product_id;
    for _ in 0..2 {
        clients.hold_by(hold_of("ann", limited, 1)).await.unwrap();
        let sql = format!("UPDATE holds SET expires_at = '2000-01-01' WHERE product_id = {limited}");
        database.move_times(&sql).await;
    }
    clients.hold_by(hold_of("ann", limited, 1)).await.unwrap();
    for _ in 0..2 {
        assert!(clients.hold_by(hold_of("ann", limited, 1)).await.is_err());
    }
    let hold = clients.hold(product_id, 2).await.unwrap();
    let order = clients.order(hold.hold_id).await.unwrap();
    clients.pay("paid", order.order_id, PaymentStatus::Success).await.unwrap();
    clients.product(product_id).await.unwrap();
    clients.stats(product_id).await.unwrap();
    for product_id in [None, Some(product_id)] {
        for include_resolved in [None, Some(true)] {
            let request = ListPaymentExceptionsRequest { product_id, include_resolved, ..Default::default() };
            clients.exceptions_by(request).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_reads_its_own_index_and_sorts_nothing() {
    let mysqld = Mysqld::start_private(&["--general-log=ON", "--log-output=TABLE"]).await;
    let database = TestDatabase::create_on(&mysqld, "plans").await;
    fill(&database).await;
    let server = TestServer::start(&database).await;
    call(&server, &database).await;
    server.stop().await;

    let mut connection = database.connect().await;
    // MySQL 9 explains as a tree unless told otherwise; MariaDB doesn't know the setting.
    let _ = connection.try_execute("SET explain_format = 'TRADITIONAL'").await;
    for (pattern, expected) in PLANS {
        let sql = format!(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type = 'Execute' \
             AND argument LIKE '{}' ORDER BY event_time DESC LIMIT 1",
            pattern.replace('_', "\\_")
        );
        let statements = connection.query_rows(&sql).await;
        let [statement] = statements.as_slice() else { panic!("nothing was sent like {pattern}") };
        let plan = explain(&mut connection, &statement[0]).await;
        for (table, key, only_index) in expected {
            let found = plan.iter().any(|access| {
                access.table == *table
                    && access.key == *key
                    && (!only_index || access.extra.contains("Using index"))
                    && !["ALL", "index"].contains(&access.kind.as_str())
            });
            assert!(found, "{table} by {key} in {}:\n{plan:#?}", statement[0]);
        }
        assert!(plan.iter().all(|access| !access.extra.contains("filesort")), "{}:\n{plan:#?}", statement[0]);
        let made_up = |table: &str| table.starts_with('<') || ["NULL", "asked_for"].contains(&table);
        let real = plan.iter().filter(|access| !made_up(&access.table));
        assert_eq!(real.count(), expected.len(), "{}:\n{plan:#?}", statement[0]);
    }
    connection.close().await;
}

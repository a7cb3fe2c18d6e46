//! Makes each fault by SQL, and shows that the audit finds all that the fault breaks and nothing else.

use flashsale::db::audit::TABLES;

use super::shop::Shop;
use crate::support::audit::DEFAULT_PAGE;

const PRODUCTS: &[(&str, &[&str])] = &[
    ("UPDATE products SET available_stock = available_stock - 1 WHERE id = 1", &["stock_not_conserved 1"]),
    (
        "UPDATE products SET available_stock = available_stock + 1",
        &["stock_not_conserved 1", "stock_not_conserved 2", "stock_not_conserved 3", "stock_out_of_bounds 3"],
    ),
    ("UPDATE products SET available_stock = -1 WHERE id = 2", &["stock_not_conserved 2", "stock_out_of_bounds 2"]),
    ("UPDATE products SET total_stock = 1 WHERE id = 1", &["stock_out_of_bounds 1", "stock_oversold 1"]),
    (
        "UPDATE products SET total_stock = total_stock + 1, available_stock = available_stock + 1 WHERE id = 2",
        &["stock_adjustments_differ 2"],
    ),
    ("DELETE FROM stock_adjustments WHERE id = 2", &["stock_adjustments_differ 2"]),
    ("DELETE FROM stock_adjustments WHERE id = 3", &["stock_adjustments_differ 2"]),
    ("UPDATE stock_adjustments SET delta = delta + 1 WHERE id = 2", &["stock_adjustments_differ 2"]),
    ("UPDATE stock_adjustments SET available_stock = total_stock + 1 WHERE id = 1", &["adjustment_values 1"]),
    (
        "UPDATE stock_adjustments SET product_id = 99",
        &["adjustment_without_product 1", "adjustment_without_product 2", "adjustment_without_product 3"],
    ),
    ("UPDATE products SET price_cents = -1 WHERE id = 3", &["product_values 3"]),
    ("UPDATE products SET max_per_buyer = 0 WHERE id = 3", &["product_values 3"]),
    ("UPDATE products SET starts_at = created_at, ends_at = created_at WHERE id = 3", &["product_values 3"]),
];

const HOLDS: &[(&str, &[&str])] = &[
    ("UPDATE holds SET status = 'cancelled' WHERE id = 1", &["stock_not_conserved 1"]),
    ("UPDATE holds SET status = 'active' WHERE id = 2", &["stock_not_conserved 1"]),
    ("UPDATE holds SET qty = 2 WHERE id = 1", &["stock_not_conserved 1"]),
    ("UPDATE holds SET product_id = 99 WHERE id = 3", &["hold_without_product 3"]),
    ("UPDATE holds SET product_id = 2 WHERE id = 1", &["stock_not_conserved 1", "stock_not_conserved 2"]),
    (
        "DELETE FROM products WHERE id = 2",
        &[
            "adjustment_without_product 1",
            "adjustment_without_product 2",
            "adjustment_without_product 3",
            "hold_without_product 8",
        ],
    ),
    ("UPDATE holds SET qty = 0 WHERE id = 2", &["hold_values 2"]),
    ("UPDATE holds SET unit_price_cents = -1 WHERE id = 2", &["hold_values 2"]),
    ("UPDATE IGNORE holds SET status = 'lost' WHERE id = 2", &["hold_values 2"]),
    ("UPDATE holds SET expires_at = created_at - INTERVAL 1 MICROSECOND WHERE id = 2", &["hold_times 2"]),
    ("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE id = 3", &["hold_expired_early 3"]),
    ("UPDATE holds SET status = 'used' WHERE id = 2", &["hold_used_without_order 2"]),
    ("DELETE FROM holds WHERE id = 4", &["order_without_hold 1"]),
];

const ORDERS: &[(&str, &[&str])] = &[
    (
        "DELETE FROM orders WHERE id = 2",
        &["exception_without_order 1", "hold_used_without_order 5", "stock_not_conserved 1", "webhook_without_order 1"],
    ),
    ("UPDATE orders SET hold_id = 99 WHERE id = 1", &["order_without_hold 1"]),
    ("UPDATE orders SET product_id = 99 WHERE id = 1", &["order_product_differs 1", "order_without_product 1"]),
    ("UPDATE orders SET product_id = 2 WHERE id = 1", &["order_product_differs 1"]),
    ("UPDATE orders SET qty = qty + 1 WHERE id = 1", &["order_qty_differs 1"]),
    ("UPDATE orders SET amount_cents = amount_cents + 1 WHERE id = 1", &["order_amount_differs 1"]),
    ("UPDATE holds SET unit_price_cents = 9223372036854775807 WHERE id = 4", &["order_amount_differs 1"]),
    ("UPDATE holds SET status = 'cancelled' WHERE id = 6", &["order_hold_status 3"]),
    ("UPDATE holds SET status = 'expired' WHERE id = 4", &["order_hold_status 1"]),
    (
        "UPDATE orders SET status = 'paid' WHERE id = 1",
        &["order_hold_status 1", "order_paid_without_event 1", "order_settled_by_differs 1", "stock_not_conserved 1"],
    ),
    (
        "UPDATE orders SET status = 'cancelled' WHERE id = 2",
        &["order_cancelled_without_cause 2", "order_hold_status 2", "stock_not_conserved 1"],
    ),
    (
        "UPDATE orders SET status = 'pending' WHERE id = 3",
        &[
            "order_settled_by_differs 3",
            "webhook_answer_differs 2",
            "webhook_answer_differs 3",
            "webhook_answer_differs 4",
        ],
    ),
    (
        "UPDATE IGNORE orders SET status = 'lost' WHERE id = 1",
        &["order_hold_status 1", "order_settled_by_differs 1", "order_values 1"],
    ),
    ("UPDATE orders SET qty = 0 WHERE id = 1", &["order_qty_differs 1", "order_values 1"]),
    ("UPDATE orders SET payment_due_at = created_at - INTERVAL 1 SECOND WHERE id = 2", &["order_times 2"]),
    ("UPDATE orders SET created_at = created_at - INTERVAL 1 HOUR WHERE id = 2", &["clock_went_back 2"]),
    ("UPDATE orders SET created_at = created_at + INTERVAL 3 MINUTE WHERE id = 3", &["order_after_hold_expired 3"]),
    ("UPDATE orders SET settled_by = 'caller' WHERE id = 3", &["order_settled_by_differs 3"]),
    ("DELETE FROM payment_webhooks WHERE id = 2", &["order_paid_without_event 3"]),
    ("UPDATE orders SET payment_due_at = NULL WHERE id = 1", &["order_cancelled_without_cause 1"]),
    (
        "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE id = 1",
        &["order_cancelled_without_cause 1"],
    ),
    (
        "INSERT INTO payment_webhooks (idempotency_key, order_id, product_id, status, order_status, result, created_at) \
         SELECT 'again', order_id, product_id, status, order_status, result, created_at FROM saved_payment_webhooks \
         WHERE id = 2",
        &["order_settled_twice 3"],
    ),
];

const PAYMENTS: &[(&str, &[&str])] = &[
    ("UPDATE payment_webhooks SET order_id = 99 WHERE id = 4", &["webhook_without_order 4"]),
    ("UPDATE payment_webhooks SET product_id = 2 WHERE id = 4", &["webhook_product_differs 4"]),
    ("UPDATE payment_webhooks SET order_status = 'pending' WHERE id = 4", &["webhook_answer_impossible 4"]),
    (
        "UPDATE payment_webhooks SET status = 'failure' WHERE id = 2",
        &["order_paid_without_event 3", "webhook_answer_impossible 2"],
    ),
    ("UPDATE payment_webhooks SET order_status = 'paid' WHERE id = 7", &["webhook_answer_differs 7"]),
    ("UPDATE payment_webhooks SET order_id = 4 WHERE id = 4", &["webhook_answer_differs 4"]),
    ("UPDATE payment_webhooks SET amount_cents = amount_cents - 1 WHERE id = 2", &["webhook_amount 2"]),
    ("UPDATE payment_webhooks SET amount_cents = -1 WHERE id = 4", &["webhook_amount 4"]),
    ("UPDATE payment_webhooks SET amount_cents = 5000 WHERE id = 1", &["exception_differs 1", "webhook_amount 1"]),
    ("UPDATE payment_webhooks SET amount_cents = NULL WHERE id = 1", &["exception_differs 1", "webhook_amount 1"]),
    ("DELETE FROM payment_exceptions", &["exception_missing 1", "exception_missing 3", "exception_missing 6"]),
    ("DELETE FROM payment_webhooks WHERE id = 3", &["exception_without_webhook 2"]),
    (
        "UPDATE payment_exceptions SET idempotency_key = 'other' WHERE id = 2",
        &["exception_missing 3", "exception_without_webhook 2"],
    ),
    ("UPDATE payment_exceptions SET order_id = 99 WHERE id = 2", &["exception_differs 2", "exception_without_order 2"]),
    ("UPDATE payment_exceptions SET order_id = 4 WHERE id = 2", &["exception_differs 2"]),
    ("UPDATE payment_exceptions SET product_id = 2 WHERE id = 2", &["exception_differs 2"]),
    ("UPDATE payment_exceptions SET amount_cents = 1 WHERE id = 2", &["exception_differs 2"]),
    ("UPDATE payment_exceptions SET amount_cents = NULL WHERE id = 3", &["exception_differs 3"]),
    ("UPDATE payment_exceptions SET kind = 'late_success' WHERE id = 2", &["exception_differs 2"]),
    ("UPDATE payment_exceptions SET note = NULL WHERE id = 3", &["exception_resolution 3"]),
    ("UPDATE payment_exceptions SET note = 'refunded' WHERE id = 2", &["exception_resolution 2"]),
    ("UPDATE payment_exceptions SET resolved_at = created_at - INTERVAL 1 SECOND WHERE id = 3", &["clock_went_back 3"]),
    (
        "INSERT INTO payment_exceptions (kind, order_id, product_id, idempotency_key, created_at) \
         SELECT 'duplicate_success', order_id, product_id, idempotency_key, created_at FROM payment_webhooks \
         WHERE id = 4",
        &["exception_differs 4"],
    ),
];

/// The unique keys: table, key, columns, what repeats a value, and the row that then does.
const REPEATS: [(&str, &str, &str, &str, &str); 6] = [
    (
        "products",
        "products_request",
        "request_id",
        "UPDATE products SET request_id = 'same' WHERE id > 1",
        "product_request_id_repeated 3",
    ),
    (
        "holds",
        "holds_request",
        "product_id, request_id",
        "UPDATE holds SET request_id = 'same' WHERE id IN (1, 3, 8)",
        "hold_request_id_repeated 3",
    ),
    (
        "orders",
        "orders_hold",
        "hold_id",
        "INSERT INTO orders (hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id) \
         SELECT hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, 'again' \
         FROM saved_orders WHERE id = 1",
        "order_second_of_hold 5",
    ),
    (
        "payment_webhooks",
        "payment_webhooks_key",
        "idempotency_key",
        "UPDATE payment_webhooks SET idempotency_key = 'same' WHERE id IN (4, 7)",
        "webhook_key_repeated 7",
    ),
    (
        "payment_exceptions",
        "payment_exceptions_key",
        "idempotency_key",
        "INSERT INTO payment_exceptions (kind, order_id, product_id, idempotency_key, created_at) \
         SELECT kind, order_id, product_id, idempotency_key, created_at FROM saved_payment_exceptions WHERE id = 2",
        "exception_key_repeated 4",
    ),
    (
        "stock_adjustments",
        "stock_adjustments_request",
        "product_id, request_id",
        "UPDATE stock_adjustments SET request_id = 'same' WHERE id > 1",
        "adjustment_request_id_repeated 3",
    ),
];

#[tokio::test]
async fn each_thing_that_is_off_is_found_and_nothing_else() {
    let shop = Shop::open("audit_corruptions").await;
    shop.save().await;
    for (corruption, expected) in [PRODUCTS, HOLDS, ORDERS, PAYMENTS].concat() {
        shop.sale.database.execute(corruption).await;
        for page in [1, DEFAULT_PAGE] {
            let audited = shop.sale.database.audit(page, false).await;
            assert_eq!(audited.names(), expected, "{page} rows a page, after {corruption}: {:#?}", audited.findings);
            for finding in &audited.findings {
                assert!(!finding.expected.is_empty() && !finding.found.is_empty(), "{finding:?}");
            }
        }
        shop.restore().await;
        let names = shop.sale.database.audit(DEFAULT_PAGE, false).await.names();
        assert_eq!(names, Vec::<String>::new(), "restored after {corruption}");
    }
    shop.sale.finish().await;
}

#[tokio::test]
async fn a_key_that_is_not_unique_and_what_it_let_in_are_found() {
    let shop = Shop::open("audit_repeats").await;
    shop.save().await;
    let database = &shop.sale.database;
    for (table, key, columns, repeat, expected) in REPEATS {
        database.execute(&format!("ALTER TABLE {table} DROP KEY {key}, ADD KEY {key} ({columns})")).await;
        let not_unique = format!("key_not_unique unique key {key} ({}) of {table}", columns.replace(", ", ","));
        assert_eq!(database.audit(DEFAULT_PAGE, false).await.names(), [&*not_unique]);

        database.execute(repeat).await;
        let mut names = [expected, &not_unique];
        names.sort_unstable();
        for page in [1, DEFAULT_PAGE] {
            let audited = database.audit(page, false).await;
            assert_eq!(audited.names(), names, "{repeat}: {:#?}", audited.findings);
        }
        shop.restore().await;
        database.execute(&format!("ALTER TABLE {table} DROP KEY {key}, ADD UNIQUE KEY {key} ({columns})")).await;
    }
    shop.sale.finish().await;
}

#[tokio::test]
async fn without_a_key_that_it_reads_by_the_audit_stops() {
    let shop = Shop::open("audit_no_key").await;
    let database = &shop.sale.database;
    database.execute("UPDATE products SET available_stock = 0").await;
    database.execute("ALTER TABLE orders DROP KEY orders_hold, ADD KEY orders_hold (id, hold_id)").await;
    let audited = database.audit(DEFAULT_PAGE, true).await;
    assert_eq!(audited.names(), ["key_missing unique key orders_hold (hold_id) of orders"]);
    assert_eq!(audited.findings[0].found, "key orders_hold (id,hold_id) of orders");
    assert_eq!((audited.report.rows, audited.report.repaired), ([0; 6], 0));
}

#[test]
fn every_check_is_broken_by_something() {
    let broken = [PRODUCTS, HOLDS, ORDERS, PAYMENTS].concat();
    let mut found: Vec<&str> = broken.iter().flat_map(|(_, found)| *found).copied().collect();
    found.extend(REPEATS.map(|repeat| repeat.4));
    for check in TABLES.iter().flat_map(|table| table.checks) {
        assert!(found.iter().any(|found| found.split(' ').next() == Some(check.kind)), "{} never is", check.kind);
    }
}

/// A new unique key of the migrations has to be added to those that the audit asks for.
#[tokio::test]
async fn the_audit_asks_for_every_unique_key() {
    let shop = Shop::open("audit_keys").await;
    let database = &shop.sale.database;
    let keys = database
        .query_rows(
            "SELECT DISTINCT table_name, index_name FROM information_schema.statistics \
             WHERE table_schema = DATABASE() AND non_unique = 0 AND index_name <> 'PRIMARY'",
        )
        .await;
    assert_eq!(keys.len(), REPEATS.len(), "{keys:?}");
    for key in keys {
        assert!(REPEATS.iter().any(|repeat| [repeat.0, repeat.1] == key[..]), "{key:?}");
    }
    shop.sale.finish().await;
}

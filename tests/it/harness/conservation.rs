//! Shows that the check of the stock finds each kind of fault.

use crate::support::{database::TestDatabase, server::Sale};

/// The part of the service's tables that the check of the stock reads, without any of their CHECKs and keys.
const TABLES: [&str; 4] = [
    "CREATE TABLE products (id BIGINT PRIMARY KEY, total_stock BIGINT, available_stock BIGINT) ENGINE = InnoDB",
    "CREATE TABLE holds (id BIGINT PRIMARY KEY, product_id BIGINT, qty INT, unit_price_cents BIGINT,
        status ENUM('active', 'used', 'expired', 'cancelled')) ENGINE = InnoDB",
    "CREATE TABLE orders (id BIGINT PRIMARY KEY, hold_id BIGINT, product_id BIGINT, qty INT, amount_cents BIGINT,
        status ENUM('pending', 'paid', 'cancelled')) ENGINE = InnoDB",
    "CREATE TABLE payment_webhooks (id BIGINT PRIMARY KEY, order_id BIGINT) ENGINE = InnoDB",
];

/// Rows in every possible state, without a fault.
const SALE: [&str; 4] = [
    "INSERT INTO products VALUES (1, 100, 85), (2, 0, 0)",
    "INSERT INTO holds VALUES (11, 1, 4, 250, 'active'), (12, 1, 5, 250, 'used'), (13, 1, 6, 250, 'used'),
        (14, 1, 7, 250, 'cancelled'), (15, 1, 8, 250, 'expired'), (16, 1, 9, 250, 'cancelled')",
    "INSERT INTO orders VALUES (22, 12, 1, 5, 1250, 'pending'), (23, 13, 1, 6, 1500, 'paid'),
        (24, 14, 1, 7, 1750, 'cancelled')",
    "INSERT INTO payment_webhooks VALUES (31, 23), (32, 24)",
];

#[tokio::test]
async fn the_check_of_the_stock_finds_every_kind_of_fault() {
    let database = TestDatabase::create_empty("conservation").await;
    for statement in TABLES.iter().chain(&SALE) {
        database.execute(statement).await;
    }
    database.assert_conserved().await;

    for (fault, rule) in [
        ("UPDATE products SET available_stock = 84 WHERE id = 1", "stock is conserved: product 1"),
        ("UPDATE holds SET status = 'expired' WHERE id = 11", "stock is conserved: product 1"),
        ("UPDATE orders SET status = 'pending' WHERE id = 24", "stock is conserved: product 1"),
        ("UPDATE products SET total_stock = total_stock - 1", "bounds: product 2: available 0 of -1"),
        ("UPDATE holds SET qty = 0 WHERE id = 16", "positive: hold 16"),
        ("UPDATE IGNORE holds SET status = 'lost' WHERE id = 16", "known one: hold 16"),
        ("UPDATE IGNORE orders SET status = 'lost' WHERE id = 24", "known one: order 24"),
        ("INSERT INTO holds VALUES (17, 3, 1, 1, 'expired')", "has its product: hold 17"),
        ("INSERT INTO orders VALUES (25, 14, 1, 7, 1750, 'cancelled')", "one order at the most: hold 14: orders 24,25"),
        ("INSERT INTO orders VALUES (25, 99, 1, 7, 1750, 'cancelled')", "agrees with its hold: order 25"),
        ("UPDATE orders SET qty = 8 WHERE id = 24", "agrees with its hold: order 24"),
        ("UPDATE orders SET product_id = 2 WHERE id = 24", "agrees with its hold: order 24"),
        ("UPDATE orders SET amount_cents = 1 WHERE id = 23", "agrees with its hold: order 23"),
        ("UPDATE holds SET status = 'cancelled' WHERE id = 13", "cancelled one cancelled: order 23"),
        ("UPDATE holds SET status = 'expired' WHERE id = 14", "cancelled one cancelled: order 24"),
        ("UPDATE holds SET status = 'used' WHERE id = 16", "a used hold has an order: hold 16"),
        ("INSERT INTO payment_webhooks VALUES (33, 99)", "has its order: payment event 33"),
    ] {
        database.execute(fault).await;
        let faults = database.conservation_faults().await.join("\n");
        assert!(faults.contains(rule), "after {fault} found\n{faults}");
        for table in ["products", "holds", "orders", "payment_webhooks"] {
            database.execute(&format!("DELETE FROM {table}")).await;
        }
        for statement in SALE {
            database.execute(statement).await;
        }
    }
}

/// The audit checks the times of a row, too, unless the test has moved some.
#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "hold_times")]
async fn the_audit_at_the_end_of_a_test_minds_the_times() {
    let sale = Sale::start("minds_the_times").await;
    let product_id = sale.product(1).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.database.execute("UPDATE holds SET expires_at = created_at - INTERVAL 1 HOUR").await;
    sale.finish().await;
}

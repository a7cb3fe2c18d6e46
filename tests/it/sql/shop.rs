//! Fills the tables with as many rows as make the optimizer think.

use crate::support::database::TestDatabase;

/// The product with a limit for each buyer.
pub(super) const LIMITED: i64 = 1;
/// The product that is sold out, with expired holds and overdue orders.
pub(super) const SOLD_OUT: i64 = 20;
/// The product without holds: nothing of it is taken back beside a read.
pub(super) const QUIET: i64 = 21;
/// The products before it have the holds.
const WITH_HOLDS: i64 = 20;
/// The first of the seeded holds, orders and payment exceptions: ids that a golden text leaves out.
const FIRST_ID: i64 = 10_000;
const HOLDS: i64 = 6000;
const EXCEPTIONS: i64 = 900;

/// Makes the products, and 6,000 holds in every state with their orders, payments and payment exceptions.
pub(super) async fn seed(database: &TestDatabase) {
    let products = (1..=QUIET).map(|id| {
        let limit = if id == LIMITED { "5" } else { "NULL" };
        format!("({id}, 'Shoe', 1000, 100000, 100000, {limit}, 'product{id}', REPEAT('d', 32), NOW())")
    });
    let columns = "id, name, price_cents, total_stock, available_stock, max_per_buyer, request_id, request_digest, \
                   created_at";
    insert(database, &format!("products ({columns})"), products.collect()).await;
    let (mut holds, mut orders, mut webhooks) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=HOLDS {
        let (id, product) = (FIRST_ID + number, number % WITH_HOLDS + 1);
        // Two of five are active, and one of these two is past its time.
        let (status, age) = [("active", 60), ("active", -60), ("used", 60), ("used", 60), ("expired", 60)]
            [usize::try_from(number / WITH_HOLDS % 5).unwrap()];
        let expires_at = format!("UTC_TIMESTAMP(6) - INTERVAL {age} MINUTE - INTERVAL {number} SECOND");
        let buyer = number % 500;
        holds.push(format!(
            "({id}, {product}, 1, 1000, '{status}', {expires_at}, NOW(), 'hold{number}', 'buyer{buyer}')"
        ));
        if status == "used" {
            let (status, due) = if number % 3 == 0 { ("pending", -30) } else { ("paid", 30) };
            let due = format!("UTC_TIMESTAMP(6) + INTERVAL {due} MINUTE - INTERVAL {number} SECOND");
            orders.push(format!("({id}, {id}, {product}, 1, 1000, '{status}', {due}, NOW(), 'order{number}')"));
            if status == "paid" {
                webhooks.push(format!("({id}, 'key{number}', {id}, {product}, 'success', 'paid', 'applied', NOW())"));
            }
        }
    }
    for (into, rows) in [
        ("holds (id, product_id, qty, unit_price_cents, status, expires_at, created_at, request_id, buyer_id)", holds),
        ("orders (id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id)", orders),
        (
            "payment_webhooks (id, idempotency_key, order_id, product_id, status, order_status, result, created_at)",
            webhooks,
        ),
    ] {
        insert(database, into, rows).await;
    }
    insert_exceptions(database).await;
    let taken = "(SELECT COUNT(*) FROM holds WHERE product_id = products.id AND status IN ('active', 'used'))";
    database.execute(&format!("UPDATE products SET available_stock = total_stock - {taken}")).await;
    let sold_out = format!("UPDATE products SET total_stock = {taken}, available_stock = 0 WHERE id = {SOLD_OUT}");
    database.execute(&sold_out).await;
    database.query_rows("ANALYZE TABLE products, holds, orders, payment_webhooks, payment_exceptions").await;
}

/// Makes payments that came twice, two of three of which are resolved.
async fn insert_exceptions(database: &TestDatabase) {
    let (mut webhooks, mut exceptions) = (Vec::new(), Vec::new());
    for number in 1..=EXCEPTIONS {
        let id = FIRST_ID + HOLDS + number;
        let paid = "(SELECT id FROM orders WHERE status = 'paid' ORDER BY id LIMIT 1)";
        let product = format!("(SELECT product_id FROM orders WHERE id = {paid})");
        webhooks
            .push(format!("({id}, 'twice{number}', {paid}, {product}, 'success', 'paid', 'duplicate_success', NOW())"));
        let resolved = if number % 3 == 0 { "NULL, NULL" } else { "NOW(), 'refunded'" };
        exceptions.push(format!("({id}, 'duplicate_success', {paid}, {product}, 'twice{number}', NOW(), {resolved})"));
    }
    let columns = "id, idempotency_key, order_id, product_id, status, order_status, result, created_at";
    insert(database, &format!("payment_webhooks ({columns})"), webhooks).await;
    let columns = "id, kind, order_id, product_id, idempotency_key, created_at, resolved_at, note";
    insert(database, &format!("payment_exceptions ({columns})"), exceptions).await;
}

/// Inserts rows whose times are made up.
async fn insert(database: &TestDatabase, into: &str, rows: Vec<String>) {
    database.move_times(&format!("INSERT INTO {into} VALUES {}", rows.join(","))).await;
}

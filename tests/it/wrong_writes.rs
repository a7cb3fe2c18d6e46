//! Writes that break a rule are refused by their statement or by the table, also where nothing was locked or read.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use flashsale::{
    db::{Connection, Failure, Plan, Script, holds, orders, products},
    domain::{HoldId, HoldStatus, OrderId, Product, ProductId, SettledBy},
    error::Error,
    pb::PaymentStatus,
};

use crate::support::server::Sale;

/// Part of the server's error where a statement of a script matched other rows than it had to.
const ROW_COUNT: &str = "BIGINT UNSIGNED value is out of range";

/// Runs a script without a lock or a read before it, and returns the failure's text.
async fn write(sale: &Sale, script: impl Fn(&mut Script) + Send + Sync) -> Result<(), String> {
    let database = sale.server_database();
    let written = database.transaction("test", async |_conn: &mut Connection, _attempt| {
        let mut plan = Plan { script: Script::default(), value: () };
        script(&mut plan.script);
        Ok::<_, Failure>(plan)
    });
    match written.await {
        Ok(_) => Ok(()),
        Err(Error::Internal(text)) => Err(text),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_available_is_not_taken_even_without_a_lock() {
    let sale = Sale::start("guarded_take").await;
    let product_id = ProductId::stored(sale.product(3).await);
    let taken = write(&sale, |script| products::take(script, product_id, 4)).await;
    assert!(
        taken.unwrap_err().contains(ROW_COUNT),
        "the update's own condition has to refuse it before the CHECK does"
    );
    assert_eq!(sale.stock(product_id.get()).await, 3);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_total_is_not_given_back_even_without_a_lock() {
    let sale = Sale::start("guarded_give_back").await;
    let product_id = ProductId::stored(sale.product(3).await);
    let given = write(&sale, |script| products::give_back(script, product_id, 1)).await;
    assert!(
        given.unwrap_err().contains(ROW_COUNT),
        "the update's own condition has to refuse it before the CHECK does"
    );
    assert_eq!(sale.stock(product_id.get()).await, 3);
    sale.finish().await;
}

/// A hold that is no longer what it was read as is not changed, and nothing of the script is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_whose_update_matches_other_rows_commits_nothing() {
    let sale = Sale::start("a_script_matches_other_rows").await;
    let product_id = sale.product(10).await;
    let active = sale.clients().hold(product_id, 1).await.unwrap();
    let released = sale.clients().hold(product_id, 1).await.unwrap();
    sale.clients().release(released.hold_id).await.unwrap();
    let ids = [active.hold_id, released.hold_id].map(HoldId::stored);
    let written = write(&sale, |script| {
        products::give_back(script, ProductId::stored(product_id), 1);
        holds::set_status(script, &ids, HoldStatus::Active, HoldStatus::Expired);
    });
    assert!(written.await.unwrap_err().contains(ROW_COUNT));
    assert_eq!((sale.stock(product_id).await, sale.hold_status(active.hold_id).await), (9, "active".to_owned()));
    assert_eq!(sale.hold_status(released.hold_id).await, "cancelled");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_pending_is_not_settled_even_without_a_lock() {
    let sale = Sale::start("a_settled_order_is_not_settled").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap();
    for by in [SettledBy::Payment, SettledBy::Caller] {
        let settled =
            write(&sale, |script| orders::settle(script, &[(OrderId::stored(order.order_id), None)], by)).await;
        assert!(settled.unwrap_err().contains(ROW_COUNT));
        assert_eq!(sale.order_status(order.order_id).await, "paid");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checks_and_unique_keys_bind_every_program() {
    let sale = Sale::start("the_tables_refuse").await;
    let product_id = sale.product(3).await;
    let order = sale.ordered(product_id, 1).await;
    sale.ordered(product_id, 1).await;
    sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap();
    let copy = |table: &str, columns: &str, values: &str| {
        format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE id = 1")
    };
    let mut connection = sale.database.connect().await;
    for (sql, constraint) in [
        ("UPDATE products SET available_stock = -1".to_owned(), "products_available_stock"),
        ("UPDATE products SET available_stock = 4".to_owned(), "products_available_stock"),
        ("UPDATE products SET total_stock = 0".to_owned(), "products_available_stock"),
        ("UPDATE products SET price_cents = -1".to_owned(), "products_price_cents"),
        ("UPDATE products SET max_per_buyer = 0".to_owned(), "products_max_per_buyer"),
        ("UPDATE holds SET qty = 0".to_owned(), "holds_qty"),
        ("UPDATE orders SET qty = 0".to_owned(), "orders_qty"),
        (
            copy(
                "products",
                "name, price_cents, total_stock, available_stock, request_id, request_digest, created_at",
                "name, price_cents, total_stock, available_stock, request_id, request_digest, created_at",
            ),
            "products_request",
        ),
        (
            copy(
                "holds",
                "product_id, qty, unit_price_cents, status, expires_at, created_at, request_id",
                "product_id, 2, 0, 'expired', expires_at, created_at, request_id",
            ),
            "holds_request",
        ),
        (
            copy(
                "orders",
                "hold_id, product_id, qty, amount_cents, status, created_at, request_id",
                "hold_id, product_id, qty, amount_cents, 'cancelled', created_at, 'other'",
            ),
            "orders_hold",
        ),
        (
            copy(
                "payment_webhooks",
                "idempotency_key, order_id, product_id, status, order_status, result, created_at",
                "idempotency_key, 2, product_id, 'failure', 'pending', 'unchanged', created_at",
            ),
            "payment_webhooks_key",
        ),
    ] {
        let refused = connection.try_execute(&sql).await.expect_err(&sql).to_string();
        assert!(refused.contains(constraint), "{sql}: {refused}");
    }
    connection.close().await;
    sale.finish().await;
}

/// A network may hold a script back until its caller has got another answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_comes_after_its_last_moment_takes_no_units() {
    let sale = Sale::start("last_moment").await;
    let product_id = ProductId::stored(sale.product(3).await);
    let product = Product {
        id: product_id,
        price_cents: 1000,
        total_stock: 3,
        available_stock: 3,
        max_per_buyer: None,
        starts_at: None,
        ends_at: None,
        paused: false,
    };
    for (last_moment, taken) in [
        (SystemTime::now() - Duration::from_secs(60), Err(ROW_COUNT.to_owned())),
        (SystemTime::now() + Duration::from_secs(60), Ok(())),
    ] {
        let written = write(&sale, |script| {
            products::take_optimistically(script, &product, 1, &[], &BTreeMap::new(), last_moment);
        });
        assert_eq!(
            written.await.map_err(|text| if text.contains(ROW_COUNT) { ROW_COUNT.to_owned() } else { text }),
            taken
        );
    }
    sale.database.execute("UPDATE products SET available_stock = 3").await;
    sale.finish().await;
}

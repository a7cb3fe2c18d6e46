//! The last guards, each reached directly: past those that stand before it, nothing but it says no.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use flashsale::{
    db::{Connection, Failure, Plan, Script, holds, orders, products},
    domain::{HoldId, HoldStatus, OrderId, OrderStatus, Product, ProductId},
    error::Error,
    pb::{
        CreateProductRequest, HandlePaymentWebhookResponse, Hold, HoldStatus as HoldState, Order,
        OrderStatus as OrderState, PaymentStatus,
    },
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    database::RawConnection,
    proxy::{Counts, Proxy},
    sale::{product, repeatable_hold},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(30);
/// What the server says where a script's statement matched other rows than it had to.
const ROW_COUNT: &str = "BIGINT UNSIGNED value is out of range";

/// Writes without having locked or read anything, and returns the failure's text.
async fn write(sale: &Sale, script: impl Fn(&mut Script) + Send + Sync) -> Result<(), String> {
    let database = sale.service_database();
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

/// The guarded update: rule 1, available_stock never goes below 0 …
#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_available_is_not_taken_even_without_a_lock() {
    let sale = Sale::start("guarded_take").await;
    let product_id = ProductId::stored(sale.product(3).await);
    let taken = write(&sale, |script| products::take(script, product_id, 4)).await;
    assert!(taken.unwrap_err().contains(ROW_COUNT), "refused by the update's own condition, before the CHECK");
    assert_eq!(sale.stock(product_id.get()).await, 3);
    sale.finish().await;
}

/// … nor above total_stock.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_total_is_not_given_back_even_without_a_lock() {
    let sale = Sale::start("guarded_give_back").await;
    let product_id = ProductId::stored(sale.product(3).await);
    let given = write(&sale, |script| products::give_back(script, product_id, 1)).await;
    assert!(given.unwrap_err().contains(ROW_COUNT), "refused by the update's own condition, before the CHECK");
    assert_eq!(sale.stock(product_id.get()).await, 3);
    sale.finish().await;
}

/// The row count and the status condition: a hold that is no longer what it was read as is not changed, and nothing
/// of the script is kept.
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

/// The status condition, for orders: rule 5, pending → paid, pending → cancelled, nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_pending_is_not_settled_even_without_a_lock() {
    let sale = Sale::start("a_settled_order_is_not_settled").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 1).await;
    sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap();
    for to in [OrderStatus::Paid, OrderStatus::Cancelled] {
        let settled = write(&sale, |script| orders::settle(script, &[OrderId::stored(order.order_id)], to)).await;
        assert!(settled.unwrap_err().contains(ROW_COUNT));
        assert_eq!(sale.order_status(order.order_id).await, "paid");
    }
    sale.finish().await;
}

/// The CHECKs and unique keys, which bind every program that writes to the tables.
#[tokio::test(flavor = "multi_thread")]
async fn the_tables_refuse_what_no_program_may_write() {
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

/// A text that a network has held back: whoever asked for it may have been told something else meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn units_are_not_taken_by_a_text_that_comes_after_its_last_moment() {
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
            products::take_as_known(script, &product, 1, &[], &BTreeMap::new(), last_moment);
        });
        assert_eq!(
            written.await.map_err(|text| if text.contains(ROW_COUNT) { ROW_COUNT.to_owned() } else { text }),
            taken
        );
    }
    sale.database.execute("UPDATE products SET available_stock = 3").await;
    sale.finish().await;
}

/// Another program's transaction, at work on the same rows.
async fn other_program(sale: &Sale, statements: &[&str]) -> RawConnection {
    let mut other = sale.database.connect().await;
    other.execute("BEGIN").await;
    for statement in statements {
        other.execute(statement).await;
    }
    other
}

/// Lets the other program commit when a call waits for it.
async fn commit_when_waited_for(sale: &Sale, mut other: RawConnection) {
    wait::eventually(LIMIT, "the call to wait", async || sale.database.waiting_transactions().await == 1).await;
    other.execute("COMMIT").await;
    other.close().await;
}

/// Lets the other program commit when a call has found its row locked.
async fn commit_when_looked_at(proxy: &Proxy, before: Counts, mut other: RawConnection) {
    proxy.wait_for_commit_after(before).await;
    other.execute("COMMIT").await;
    other.close().await;
}

/// The product's row lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_decided_on_what_another_program_left() {
    let sale = Sale::start("a_hold_waits_for_the_product").await;
    let product_id = sale.product(3).await;
    let statements = [
        "UPDATE products SET available_stock = available_stock - 2",
        "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id)
         SELECT id, 2, price_cents, '2100-01-01', UTC_TIMESTAMP(6), 'other' FROM products",
    ];
    let other = other_program(&sale, &statements).await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.hold(product_id, 2).await });
    commit_when_waited_for(&sale, other).await;
    let status = assert_refused(call.await.unwrap(), Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "1");
    sale.finish().await;
}

const CANCEL_HOLD: [&str; 2] =
    ["UPDATE holds SET status = 'cancelled'", "UPDATE products SET available_stock = available_stock + 1"];

/// The hold's row lock, of CreateOrder.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_decided_on_what_another_program_left() {
    let (sale, proxy) = Sale::start_behind_proxy("an_order_waits_for_the_hold").await;
    let product_id = sale.product(3).await;
    let Hold { hold_id, .. } = sale.clients().hold(product_id, 1).await.unwrap();
    let other = other_program(&sale, &CANCEL_HOLD).await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.order(hold_id).await });
    commit_when_looked_at(&proxy, before, other).await;
    assert_refused(call.await.unwrap(), Code::FailedPrecondition, "HOLD_CANCELLED");
    assert_eq!(sale.stock(product_id).await, 3);
    sale.finish().await;
}

/// The hold's row lock, of ReleaseHold.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_decided_on_what_another_program_left() {
    let (sale, proxy) = Sale::start_behind_proxy("a_release_waits_for_the_hold").await;
    let product_id = sale.product(3).await;
    let Hold { hold_id, .. } = sale.clients().hold(product_id, 1).await.unwrap();
    let other = other_program(&sale, &CANCEL_HOLD).await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.release(hold_id).await });
    commit_when_looked_at(&proxy, before, other).await;
    assert_eq!(call.await.unwrap().unwrap().status(), HoldState::Cancelled);
    assert_eq!(sale.stock(product_id).await, 3);
    sale.finish().await;
}

/// The order's row lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_decided_on_what_another_program_left() {
    let (sale, proxy) = Sale::start_behind_proxy("a_payment_waits_for_the_order").await;
    let product_id = sale.product(3).await;
    let Order { order_id, .. } = sale.ordered(product_id, 1).await;
    let cancel =
        ["UPDATE orders SET status = 'cancelled', payment_due_at = created_at", CANCEL_HOLD[0], CANCEL_HOLD[1]];
    let other = other_program(&sale, &cancel).await;
    let before = proxy.counts();
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.pay("k", order_id, PaymentStatus::Success).await });
    commit_when_looked_at(&proxy, before, other).await;
    let late = call.await.unwrap().unwrap();
    assert_eq!((late.order_status(), late.refund_required), (OrderState::Cancelled, true));
    assert_eq!(sale.stock(product_id).await, 3);
    sale.finish().await;
}

/// The unique key on a product's request_ids: the second of two programs finds the first's hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_that_another_program_takes_meanwhile_is_replayed() {
    let sale = Sale::start("a_request_id_is_taken_meanwhile").await;
    let product_id = sale.product(3).await;
    // Without a look at the product: its lock isn't what the call is to wait for.
    let insert = format!(
        "INSERT INTO holds (product_id, qty, unit_price_cents, status, expires_at, created_at, request_id)
         VALUES ({product_id}, 1, 1000, 'expired', '2000-01-01', '2000-01-01', 'r')"
    );
    let other = other_program(&sale, &[&insert]).await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.hold_by(repeatable_hold(product_id, 1, "r")).await });
    commit_when_waited_for(&sale, other).await;
    let replayed = call.await.unwrap().unwrap();
    assert_eq!(replayed.created_at.unwrap().seconds, 946_684_800, "the other program's");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (3, 1));
    sale.finish().await;
}

/// The unique key on the products' request_ids.
#[tokio::test(flavor = "multi_thread")]
async fn a_products_request_id_that_another_program_takes_meanwhile_is_replayed() {
    let sale = Sale::start("a_products_request_id_is_taken").await;
    let request = CreateProductRequest { request_id: Some("r".to_owned()), ..product(3) };
    let first = sale.clients().try_create_product(request.clone()).await.unwrap();
    sale.database.execute("UPDATE products SET request_id = 'not yet'").await;
    let other = other_program(&sale, &["UPDATE products SET request_id = 'r'"]).await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.try_create_product(request).await });
    commit_when_waited_for(&sale, other).await;
    assert_eq!(call.await.unwrap().unwrap(), first);
    assert_eq!(sale.count("products").await, 1);
    sale.finish().await;
}

/// The unique key on idempotency_key: the second of two programs finds the first's answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_program_takes_meanwhile_is_answered_as_seen() {
    let sale = Sale::start("a_key_is_taken_meanwhile").await;
    let product_id = sale.product(3).await;
    let (one, two) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    for (key, order_id) in [("same order", one.order_id), ("other order", two.order_id)] {
        let insert = format!(
            "INSERT INTO payment_webhooks
                (idempotency_key, order_id, product_id, status, amount_cents, order_status, result, created_at)
             VALUES ('{key}', {}, {product_id}, 'success', 1, 'pending', 'amount_mismatch', UTC_TIMESTAMP(6))",
            one.order_id
        );
        let exception = "INSERT IGNORE INTO payment_exceptions
                (kind, order_id, product_id, idempotency_key, amount_cents, created_at)
            SELECT result, order_id, product_id, idempotency_key, amount_cents, created_at FROM payment_webhooks";
        let other = other_program(&sale, &[&insert, exception]).await;
        let clients = sale.clients().clone();
        let call = tokio::spawn(async move { clients.pay(key, order_id, PaymentStatus::Success).await });
        commit_when_waited_for(&sale, other).await;
        let answer = call.await.unwrap();
        if order_id == two.order_id {
            assert_refused(answer, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
            continue;
        }
        let HandlePaymentWebhookResponse { first_time, refund_required, .. } = answer.unwrap();
        assert_eq!((first_time, refund_required), (false, true), "the other program's answer");
    }
    assert_eq!(sale.count("orders WHERE status = 'pending'").await, 2);
    assert_eq!(sale.count("payment_webhooks").await, 2);
    sale.finish().await;
}

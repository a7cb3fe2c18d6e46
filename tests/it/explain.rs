//! Which index each statement of the service goes by, among some thousand rows, and what that leaves unlocked. The
//! statements are those that the database server logs while the service is at work.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::{
        cancel_overdue_orders::{cancel_overdue_orders, cancel_overdue_orders_of},
        expire_holds::{expire_holds, expire_holds_of},
    },
    db::{Connection, Database, Failure, Plan, Script, due::Of, holds},
    domain::ProductId,
    pb::{CreateHoldRequest, CreateOrderRequest, CreateProductRequest, PaymentStatus},
};
use tokio::sync::Notify;

use crate::support::{
    client::Clients,
    database::TestDatabase,
    mysqld::{Engine, Mysqld},
    sale::{hold_of, product as on_sale},
    server::{Sale, TestServer, database_config},
};

const PRODUCTS: i64 = 20;
const HOLDS: i64 = 6000;
const BATCH: usize = 100;

/// Products 1 to 20 and 6,000 holds of theirs in every state, with their orders and payments; product 20 is sold out.
async fn seed(database: &TestDatabase) {
    let values = |rows: Vec<String>| rows.join(",");
    let products = (1..=PRODUCTS).map(|id| {
        let limit = if id == 1 { "5" } else { "NULL" };
        format!("({id}, 'Shoe', 1000, 100000, 100000, {limit}, 'product{id}', REPEAT('d', 32), NOW())")
    });
    database
        .execute(&format!(
            "INSERT INTO products (id, name, price_cents, total_stock, available_stock, max_per_buyer, request_id, \
             request_digest, created_at) VALUES {}",
            values(products.collect())
        ))
        .await;
    let (mut holds, mut orders, mut webhooks) = (Vec::new(), Vec::new(), Vec::new());
    for id in 1..=HOLDS {
        let product = id % PRODUCTS + 1;
        // Of five, two are active, one of them past its time.
        let (status, age) = [("active", 60), ("active", -60), ("used", 60), ("used", 60), ("expired", 60)]
            [usize::try_from(id / PRODUCTS % 5).unwrap()];
        let expires_at = format!("UTC_TIMESTAMP(6) - INTERVAL {age} MINUTE - INTERVAL {id} SECOND");
        holds.push(format!(
            "({id}, {product}, 1, 1000, '{status}', {expires_at}, NOW(), 'hold{id}', 'buyer{}')",
            id % 500
        ));
        if status == "used" {
            let (status, due) = if id % 3 == 0 { ("pending", -30) } else { ("paid", 30) };
            orders.push(format!(
                "({id}, {id}, {product}, 1, 1000, '{status}', UTC_TIMESTAMP(6) + INTERVAL {due} MINUTE, NOW(), 'order{id}')"
            ));
            if status == "paid" {
                webhooks.push(format!("('key{id}', {id}, {product}, 'success', 'paid', 'applied', NOW())"));
            }
        }
    }
    for (into, rows) in [
        ("holds (id, product_id, qty, unit_price_cents, status, expires_at, created_at, request_id, buyer_id)", holds),
        ("orders (id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id)", orders),
        (
            "payment_webhooks (idempotency_key, order_id, product_id, status, order_status, result, created_at)",
            webhooks,
        ),
    ] {
        // Their times are made up one by one.
        database.move_times(&format!("INSERT INTO {into} VALUES {}", values(rows))).await;
    }
    let taken = "(SELECT COUNT(*) FROM holds WHERE product_id = products.id AND status IN ('active', 'used'))";
    database.execute(&format!("UPDATE products SET available_stock = total_stock - {taken}")).await;
    let sold_out = format!("UPDATE products SET total_stock = {taken}, available_stock = 0 WHERE id = {PRODUCTS}");
    database.execute(&sold_out).await;
    database.query_rows("ANALYZE TABLE products, holds, orders, payment_webhooks").await;
}

/// Calls everything that the service does, repeats included.
async fn use_everything(clients: &Clients, database: &TestDatabase) {
    let product =
        CreateProductRequest { name: "Sock".to_owned(), request_id: Some("sock".to_owned()), ..Default::default() };
    for _ in 0..2 {
        clients.try_create_product(product.clone()).await.unwrap();
    }
    clients.product(2).await.unwrap();
    let buyer_id = Some("buyer7".to_owned());
    for request_id in ["hold1000", "new1", "new1"] {
        let request_id = Some(request_id.to_owned());
        let _ =
            clients.hold_by(CreateHoldRequest { product_id: 1, qty: 1, request_id, buyer_id: buyer_id.clone() }).await;
    }
    // A buyer with holds past their time, which are locked before they no longer count.
    clients.hold_by(hold_of("buyer100", 1, 1)).await.unwrap();
    // A buyer with so many that only later ones are counted; and without enough room, all.
    let request = CreateProductRequest { max_per_buyer: Some(300), ..on_sale(1000) };
    let limited = clients.try_create_product(request).await.unwrap().product_id;
    for _ in 0..200 {
        clients.hold_by(hold_of("box", limited, 1)).await.unwrap();
    }
    clients.hold_by(hold_of("box", limited, 101)).await.unwrap_err();
    for _ in 0..2 {
        clients.hold_by(hold_of("box", limited, 1)).await.unwrap();
    }
    let hold = clients.hold(2, 2).await.unwrap();
    clients.get_hold(hold.hold_id).await.unwrap();
    clients.release(hold.hold_id).await.unwrap();
    let hold_id = clients.hold(2, 2).await.unwrap().hold_id;
    let mut order_id = 0;
    for _ in 0..2 {
        let request_id = Some("order".to_owned());
        order_id = clients.order_by(CreateOrderRequest { hold_id, request_id }).await.unwrap().order_id;
    }
    clients.get_order(order_id).await.unwrap();
    for _ in 0..2 {
        clients.pay("failed", order_id, PaymentStatus::Failure).await.unwrap();
    }
    let hold_id = clients.hold(2, 2).await.unwrap().hold_id;
    let order_id = clients.order(hold_id).await.unwrap().order_id;
    clients.pay("paid", order_id, PaymentStatus::Success).await.unwrap();

    // Takes its expired holds back, and is then sold out for the second one, and by a glance for the third.
    clients.hold(PRODUCTS, 1).await.unwrap();
    for _ in 0..2 {
        clients.hold(PRODUCTS, 100_000).await.unwrap_err();
    }
    let sweeper = Database::new(&database_config(&database.url(), 1)).unwrap();
    let swept = expire_holds(&sweeper, UNIX_EPOCH, BATCH).await.unwrap();
    assert_eq!(swept.rows, BATCH);
    // Whether it is depends on how fast this machine is; here it is the statement that counts.
    let _is_being_sold = swept.is_being_sold(&sweeper).await.unwrap();
    assert_eq!(cancel_overdue_orders(&sweeper, UNIX_EPOCH, BATCH).await.unwrap().rows, BATCH);
    // A busy product by itself.
    let (of, since) = (Of::Product(ProductId::stored(1)), UNIX_EPOCH.into());
    assert!(expire_holds_of(&sweeper, of, since, BATCH).await.unwrap().rows > 0);
    assert!(cancel_overdue_orders_of(&sweeper, of, since, BATCH).await.unwrap().rows > 0);
}

/// What the server logged of the service's account: SELECTs and UPDATEs of its tables, with their values, each shape once.
async fn logged_statements(database: &TestDatabase) -> Vec<String> {
    let rows = database
        .query_rows(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
             WHERE user_host LIKE 'flashsale%' AND command_type IN ('Query', 'Execute') ORDER BY event_time",
        )
        .await;
    let mut statements: Vec<String> = Vec::new();
    // A script is logged as a whole by MariaDB, and statement by statement by MySQL.
    for sql in rows.iter().flatten().flat_map(|text| text.split(';')).map(str::to_owned) {
        let of_a_table = ["products", "holds", "orders", "payment_webhooks", "sweeper_state"]
            .iter()
            .any(|table| sql.contains(&format!("FROM {table}")) || sql.starts_with(&format!("UPDATE {table}")));
        if of_a_table && !statements.contains(&sql) {
            statements.push(sql);
        }
    }
    statements
}

/// The indexes by which a statement has to go into a table, one for each part of it that does.
fn indexes_for<'sql>(sql: &'sql str, table: &str) -> Vec<&'sql str> {
    let forces = format!("{table} FORCE INDEX (");
    let forced: Vec<&str> = sql.split(&forces).skip(1).map(|rest| rest.split_once(')').unwrap().0).collect();
    match forced.as_slice() {
        [] if sql.contains("FROM products WHERE request_id") => vec!["products_request"],
        [] => vec!["PRIMARY"],
        _ => forced,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_goes_by_its_index() {
    let mysqld = Mysqld::start_private(&["--log-output=TABLE"]).await;
    let database = TestDatabase::create_on(&mysqld, "explain").await;
    seed(&database).await;
    let server = TestServer::start(&database).await;
    database.execute("SET GLOBAL general_log = ON").await;
    use_everything(&server.clients, &database).await;
    database.execute("SET GLOBAL general_log = OFF").await;

    let statements = logged_statements(&database).await;
    let mut used = Vec::new();
    let mut root = database.connect().await;
    // The columns table, type, key and Extra.
    let columns = match mysqld.engine() {
        Engine::MariaDb => [2, 3, 5, 9],
        Engine::MySql => [2, 4, 6, 11],
    };
    for sql in &statements {
        for row in root.query_rows(&format!("EXPLAIN FORMAT=TRADITIONAL {sql}")).await {
            let [table, access, key, extra] = columns.map(|column| row[column].as_str());
            if table == "NULL" {
                // A unique key was looked up right away, and isn't there; this part is only made of others; it is the last
                // entry of an index; or what the buyers have was counted right away, and is too much.
                let known = ["const table", "No tables used", "Select tables optimized away", "Impossible WHERE"];
                assert!(known.iter().any(|part| extra.contains(part)), "{sql}: {row:?}");
                continue;
            }
            // What another part of the statement came to, or a list in its text.
            if table.starts_with('<') || table == "asked_for" {
                continue;
            }
            assert!(!["ALL", "index"].contains(&access), "a full scan: {sql}: {row:?}");
            assert!(indexes_for(sql, table).contains(&key), "{sql}: {row:?}");
            // What buyers have is counted by the index alone.
            let only_index = extra.contains("Using index") && !extra.contains("Using index condition");
            assert!(key != "holds_buyer" || only_index, "{sql}: {row:?}");
            // A sort before the LIMIT would read, and lock, all that is overdue.
            assert!(!sql.contains("LIMIT") || !extra.contains("filesort"), "{sql}: {row:?}");
            used.push(format!("{table}.{key}"));
        }
    }
    let behind_a_bound = |sql: &String| sql.starts_with("UPDATE products") && sql.contains("AND id > ");
    assert!(statements.iter().any(behind_a_bound), "{statements:#?}");
    used.sort();
    used.dedup();
    let expected = [
        "holds.PRIMARY",
        "holds.holds_buyer",
        "holds.holds_expiry",
        "holds.holds_product_expiry",
        "holds.holds_request",
        "orders.PRIMARY",
        "orders.orders_due",
        "orders.orders_hold",
        "orders.orders_product_due",
        "payment_webhooks.payment_webhooks_key",
        "products.PRIMARY",
        "products.products_request",
        "sweeper_state.PRIMARY",
    ];
    assert_eq!(used, expected, "{statements:#?}");
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// A product with this many expired holds of one unit.
async fn with_expired_holds(sale: &Sale, count: i32) -> i64 {
    let product_id = sale.clients().create_product("Shoe", 1000, i64::from(count) * 2).await.product_id;
    let holds = (0..count).map(|_| sale.clients().hold(product_id, 1));
    for hold in futures_util::future::join_all(holds).await {
        hold.unwrap();
    }
    sale.expire_all_holds().await;
    product_id
}

/// Runs `meanwhile` while a sweep has locked up to `limit` expired holds and not yet written anything.
async fn while_a_sweep_is_at_work<T>(sale: &Sale, limit: usize, meanwhile: impl Future<Output = T>) -> T {
    let sweeper = Database::new(&database_config(&sale.database.url(), 1)).unwrap();
    let (locked, over) = (Notify::new(), Notify::new());
    let sweep = sweeper.transaction("sweep", async |conn: &mut Connection, _attempt| {
        let rows = holds::lock_expired(conn, Of::AllProducts, UNIX_EPOCH.into(), limit).await?.len();
        locked.notify_one();
        over.notified().await;
        Ok::<_, Failure>(Plan { script: Script::default(), value: rows })
    });
    let meanwhile = async {
        locked.notified().await;
        let result = meanwhile.await;
        over.notify_one();
        result
    };
    let (swept, result) = tokio::join!(sweep, meanwhile);
    assert!(swept.unwrap().value > 0);
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sweep_gets_other_rows_and_waits_for_none() {
    let sale = Sale::start("two_sweeps").await;
    let product_id = with_expired_holds(&sale, 300).await;
    let second = Database::new(&database_config(&sale.database.url(), 1)).unwrap();
    let swept = while_a_sweep_is_at_work(&sale, BATCH, async {
        let mut rows = Vec::new();
        for _ in 0..3 {
            rows.push(expire_holds(&second, UNIX_EPOCH, BATCH).await.unwrap().rows);
        }
        rows
    })
    .await;
    assert_eq!(swept, [BATCH, BATCH, 0]);
    assert_eq!(expire_holds(&second, UNIX_EPOCH, BATCH).await.unwrap().rows, BATCH);
    assert_eq!(sale.clients().available_stock(product_id).await, 600);
    sale.finish().await;
}

/// Under REPEATABLE READ the sweep would lock the gaps that new holds go into.
#[tokio::test(flavor = "multi_thread")]
async fn new_holds_and_orders_do_not_wait_for_a_sweep_at_work() {
    let sale = Sale::start("sweep_at_work").await;
    let clients = sale.clients();
    let product_id = with_expired_holds(&sale, 20).await;
    let (hold, order) = while_a_sweep_is_at_work(&sale, BATCH, async {
        let hold = clients.hold(product_id, 1).await;
        let hold_id = hold.as_ref().map_or(0, |hold| hold.hold_id);
        (hold, clients.order(hold_id).await)
    })
    .await;
    hold.unwrap();
    order.unwrap();
    sale.finish().await;
}

/// The same for the holds that CreateHold takes back itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_short_of_stock_passes_over_what_a_sweep_has_locked() {
    let sale = Sale::start("short_of_stock").await;
    let product_id = with_expired_holds(&sale, 30).await;
    let (taken, short) = while_a_sweep_is_at_work(&sale, 10, async {
        // 30 are free, and of the 30 expired ones 20 aren't locked.
        (sale.clients().hold(product_id, 50).await, sale.clients().hold(product_id, 1).await)
    })
    .await;
    assert_eq!(taken.unwrap().qty, 50);
    crate::support::client::assert_refused(short, tonic::Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(sale.clients().hold(product_id, 10).await.unwrap().qty, 10);
    assert_eq!(sale.clients().available_stock(product_id).await, 0);
    sale.finish().await;
}

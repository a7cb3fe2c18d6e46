//! Covers migrations that run twice, by two processes at once, or are cut off, and servers on another schema.

use std::{collections::BTreeSet, time::Duration};

use flashsale::{
    config::Account,
    db::migrate::migrate,
    pb::{CreateProductRequest, ListPaymentExceptionsRequest, PaymentStatus},
};
use http::HeaderValue;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    at_once::at_once,
    client::{details, reason},
    database::TestDatabase,
    programs::{self, GatewayProgram, ServerProgram, lines_of},
    sale::{hold_of, product},
    server::{TestServer, database_config},
};

const LIMIT: Duration = Duration::from_secs(60);
const VERSIONS: &str = "SELECT version FROM __diesel_schema_migrations ORDER BY version";
const LAST_VERSION: &str = "SELECT MAX(version) FROM __diesel_schema_migrations";

/// Describes all tables.
async fn schema(database: &TestDatabase) -> Vec<String> {
    let mut schema = Vec::new();
    for table in database.query_rows("SHOW TABLES").await.into_iter().flatten() {
        // The next id is in this text, and isn't a part of the schema.
        let create = &database.query_rows(&format!("SHOW CREATE TABLE `{table}`")).await[0][1];
        let create: Vec<&str> = create.split_whitespace().filter(|word| !word.starts_with("AUTO_INCREMENT=")).collect();
        schema.push(create.join(" "));
    }
    schema
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_finds_nothing_to_do() {
    let database = TestDatabase::create_empty("twice").await;
    let config = database_config(&database.url_for(Account::Migrator), 1);
    let ran = migrate(&config).await.unwrap();
    let versions = database.query_rows(VERSIONS).await;
    assert!(!ran.is_empty());
    assert_eq!(ran.len(), versions.len());
    let before = schema(&database).await;
    assert_eq!(migrate(&config).await.unwrap(), Vec::<String>::new());
    assert_eq!(schema(&database).await, before);
    assert_eq!(database.query_rows(VERSIONS).await, versions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn runs_at_the_same_moment_share_the_work() {
    let database = TestDatabase::create_empty("at_once").await;
    let runs = at_once(3, |_| {
        let config = database_config(&database.url_for(Account::Migrator), 1);
        async move { migrate(&config).await.unwrap() }
    })
    .await;
    let all: Vec<String> = runs.concat();
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "none ran twice: {all:?}");
    assert_eq!(database.query_rows(VERSIONS).await.len(), all.len());
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// The database commits each DDL statement, so a run that is cut off leaves the table without the row that says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_cut_off_half_way_runs_again_and_spares_the_rows() {
    let database = TestDatabase::create("cut_off").await;
    database
        .execute(
            "INSERT INTO products (name, price_cents, total_stock, available_stock, request_id, request_digest, \
             created_at) VALUES ('Shoe', 1000, 5, 5, 'p', REPEAT('d', 32), NOW())",
        )
        .await;
    database.execute("UPDATE sweeper_state SET runs = 7").await;
    let config = database_config(&database.url_for(Account::Migrator), 1);
    let (before, versions) = (schema(&database).await, database.query_rows(VERSIONS).await);
    for version in versions.iter().flatten() {
        database.execute(&format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'")).await;
        let ran = migrate(&config).await.unwrap();
        assert_eq!(ran.len(), 1, "{version}: {ran:?}");
    }
    database.execute("DELETE FROM __diesel_schema_migrations").await;
    assert_eq!(migrate(&config).await.unwrap().len(), versions.len());
    assert_eq!(schema(&database).await, before);
    assert_eq!(database.query_rows(VERSIONS).await, versions);
    assert_eq!(database.query_i64("SELECT available_stock FROM products").await, 5);
    assert_eq!(database.query_rows("SELECT id, runs FROM sweeper_state").await, [["1", "7"]]);
}

/// The table is as an earlier version had it, with rows.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_on_buyers_is_built_anew_around_the_rows() {
    let database = TestDatabase::create("older_index").await;
    let before = schema(&database).await;
    database.execute("ALTER TABLE holds DROP INDEX holds_buyer, ADD INDEX holds_buyer (product_id, buyer_id)").await;
    let server = TestServer::start(&database).await;
    let request = CreateProductRequest { max_per_buyer: Some(3), ..product(100) };
    let product_id = server.clients.try_create_product(request).await.unwrap().product_id;
    for buyer in ["ann", "ann", "bob"] {
        server.clients.hold_by(hold_of(buyer, product_id, 1)).await.unwrap();
    }
    server.stop().await;
    for _ in 0..2 {
        database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261127000101'").await;
        assert_eq!(migrate(&database_config(&database.url_for(Account::Migrator), 1)).await.unwrap().len(), 1);
        assert_eq!(schema(&database).await, before);
    }
    let server = TestServer::start(&database).await;
    server.clients.hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    let refused = server.clients.hold_by(hold_of("ann", product_id, 1)).await;
    assert_eq!(reason(&refused.unwrap_err()), "BUYER_LIMIT");
    server.stop().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// The version before had ids of 64 bytes, and no columns for what settles an order.
#[tokio::test(flavor = "multi_thread")]
async fn the_shops_columns_come_to_the_rows_of_the_version_before() {
    let database = TestDatabase::create("older_columns").await;
    let before = schema(&database).await;
    for version in ["20261128000401", "20261128000301", "20261128000201", "20261128000101"] {
        let folder = std::fs::read_dir("migrations").unwrap().map(|entry| entry.unwrap().path());
        let mut folder = folder.filter(|path| path.to_str().unwrap().replace('-', "").contains(version));
        let down = std::fs::read_to_string(folder.next().unwrap().join("down.sql")).unwrap();
        for statement in down.split(';').filter(|statement| !statement.trim().is_empty()) {
            database.execute(statement).await;
        }
        database.execute(&format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'")).await;
    }
    let long = "x".repeat(64);
    for statement in [
        "INSERT INTO products VALUES (1, 'Shoe', 1000, 10, 7, NULL, NULL, NULL, FALSE, 'p', REPEAT('d', 32), \
         UTC_TIMESTAMP(6))",
        &format!(
            "INSERT INTO holds VALUES (1, 1, 1, 1000, 'used', '2035-01-01', UTC_TIMESTAMP(6), 'a', '{long}'), \
             (2, 1, 2, 1000, 'used', '2035-01-01', UTC_TIMESTAMP(6), 'A', 'ann')"
        ),
        "INSERT INTO orders VALUES (1, 1, 1, 1, 1000, 'paid', '2035-01-01', UTC_TIMESTAMP(6), 'r'), \
         (2, 2, 1, 2, 2000, 'pending', '2035-01-01', UTC_TIMESTAMP(6), 'r')",
        "INSERT INTO payment_webhooks VALUES (1, 'k', 1, 1, 'success', 1000, 'paid', 'applied', UTC_TIMESTAMP(6))",
    ] {
        database.execute(statement).await;
    }
    assert_eq!(migrate(&database_config(&database.url_for(Account::Migrator), 1)).await.unwrap().len(), 4);
    assert_eq!(schema(&database).await, before);
    // A server of the version before settles an order: the time is there all the same.
    database.execute("UPDATE orders SET status = 'cancelled' WHERE id = 2").await;
    database.execute("UPDATE holds SET status = 'cancelled' WHERE id = 2").await;
    database.execute("UPDATE products SET available_stock = 9").await;
    database
        .execute(
            "INSERT INTO payment_webhooks (idempotency_key, order_id, product_id, status, order_status, result, \
             created_at) VALUES ('f', 2, 1, 'failure', 'cancelled', 'applied', UTC_TIMESTAMP(6))",
        )
        .await;
    let server = TestServer::start(&database).await;
    assert!(server.clients.get_order(1).await.unwrap().settled_at.is_none());
    assert!(server.clients.get_order(2).await.unwrap().settled_at.is_some());
    for (request_id, expected) in [("a", 1), ("A", 2)] {
        let repeat = server.clients.hold_by(hold_of_request(request_id, expected)).await.unwrap();
        assert_eq!(repeat.hold_id, i64::from(expected), "ids are compared byte for byte");
    }
    server.clients.hold_by(hold_of(&"é".repeat(127), 1, 1)).await.unwrap();
    server.stop().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

fn hold_of_request(request_id: &str, number: i32) -> flashsale::pb::CreateHoldRequest {
    let buyer_id = if number == 1 { "x".repeat(64) } else { "ann".to_owned() };
    flashsale::pb::CreateHoldRequest { request_id: Some(request_id.to_owned()), ..hold_of(&buyer_id, 1, number) }
}

async fn migrate_by_program(database: &TestDatabase) {
    let (code, lines) = programs::migrate(&database.url(), &[]).await;
    assert_eq!(code, 0);
    assert_eq!(lines_of(&lines, "Database is up to date").len(), 1);
}

/// The server says why it doesn't serve, and serves after `server migrate` without a restart.
async fn assert_serves_once_migrated(database: &TestDatabase, lacking: &str) {
    let ServerProgram { process: server, clients, .. } = ServerProgram::start(&database.url(), &[]).await;
    let why = server.wait_for_line("Not serving", LIMIT).await;
    let reason = why["reason"].as_str().unwrap();
    assert!(reason.contains("server migrate") && reason.contains(lacking), "{reason}");
    assert_eq!(why["level"], "WARN");
    clients.wait_for_health(ServingStatus::NotServing).await;
    migrate_by_program(database).await;
    clients.wait_for_health(ServingStatus::Serving).await;
    let product = clients.create_product("Shoe", 1000, 5).await;
    clients.hold(product.product_id, 1).await.unwrap();
    // Each change makes one line, not one line a second. A look during the migrations finds fewer that are missing.
    let reasons: Vec<String> = server.lines_of("Not serving").iter().map(|line| line["reason"].to_string()).collect();
    assert_eq!(reasons.len(), reasons.iter().collect::<BTreeSet<_>>().len(), "{reasons:#?}");
    drop(server);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_an_empty_database_serves_once_it_is_migrated() {
    let database = TestDatabase::create_empty("empty").await;
    assert_serves_once_migrated(&database, "create_products").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_an_older_schema_serves_once_it_is_migrated() {
    let database = TestDatabase::create("older").await;
    let last = database.query_rows(LAST_VERSION).await[0][0].clone();
    database.execute(&format!("DELETE FROM __diesel_schema_migrations WHERE version = '{last}'")).await;
    assert_serves_once_migrated(&database, &last[..4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_newer_schema_serves() {
    let database = TestDatabase::create("newer").await;
    database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000001')").await;
    database.execute("ALTER TABLE holds ADD COLUMN channel VARCHAR(20) NULL").await;
    database.execute("ALTER TABLE products ADD COLUMN colour VARCHAR(20) NOT NULL DEFAULT 'red'").await;
    let ServerProgram { process: server, clients, .. } = ServerProgram::start(&database.url(), &[]).await;
    clients.wait_for_health(ServingStatus::Serving).await;
    let product = clients.create_product("Shoe", 1000, 5).await;
    clients.hold(product.product_id, 1).await.unwrap();
    assert_eq!(clients.available_stock(product.product_id).await, 4);
    drop(server);
    migrate_by_program(&database).await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// An internal error would mean a bug. A caller that repeats is served once the migrations have run.
#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_server_that_waits_for_its_migrations_are_told_to_come_back() {
    let database = TestDatabase::create_empty("no_tables").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let clients = &server.clients;
    let unavailable = (tonic::Code::Unavailable, "DATABASE_UNAVAILABLE");
    for status in [
        clients.product(1).await.unwrap_err(),
        clients.hold(1, 1).await.unwrap_err(),
        clients.get_hold(1).await.unwrap_err(),
        clients.release(1).await.unwrap_err(),
        clients.order(1).await.unwrap_err(),
        clients.get_order(1).await.unwrap_err(),
        clients.pay("early", 1, PaymentStatus::Success).await.unwrap_err(),
        clients.try_create_product(product(5)).await.unwrap_err(),
        clients.pause(1, true).await.unwrap_err(),
        clients.adjust(1, 1, "early").await.unwrap_err(),
        clients.stats(1).await.unwrap_err(),
        clients.exceptions_by(ListPaymentExceptionsRequest::default()).await.unwrap_err(),
        clients.resolve(1, "early").await.unwrap_err(),
    ] {
        assert_eq!((status.code(), reason(&status).as_str()), unavailable, "{status:?}");
        assert!(details(&status).retry_info().is_some(), "{status:?}");
    }

    let unsigned = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
    let gateway = GatewayProgram::start(&server.address, &[unsigned]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("http://{}/api/products/1", gateway.address)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &HeaderValue::from_static("1")));
    gateway.stop().await;

    migrate_by_program(&database).await;
    clients.wait_for_health(ServingStatus::Serving).await;
    clients.create_product("Shoe", 1000, 5).await;
    let lines = server.stop().await;
    assert!(lines_of(&lines, "Internal error").is_empty(), "{lines:#?}");
    assert_eq!(lines_of(&lines, "Payment webhook failed")[0]["idempotency_key"], "early");
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

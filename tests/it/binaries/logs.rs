//! Checks the log lines that other programs read, and the numbers on `/metrics`.

use std::time::Duration;

use flashsale::pb::PaymentStatus;
use serde_json::{Value, json};

use crate::support::{
    client::assert_refused,
    database::TestDatabase,
    programs::{GatewayProgram, ServerProgram, lines_of, sweep},
    proxy::Proxy,
    sale::event,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Checks that exactly one line has this message and these fields at the top level, beside what every line has.
fn assert_line(lines: &[Value], message: &str, level: &str, fields: &Value) {
    let of_message = lines_of(lines, message);
    let fits = |line: &&&Value| fields.as_object().unwrap().iter().all(|(name, value)| line[name] == *value);
    let found: Vec<_> = of_message.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{message} {fields} in {of_message:#?}");
    assert_eq!(found[0]["level"], level, "{message}");
    assert_eq!(found[0]["service"], "flashsale-server", "{message}");
    let timestamp = found[0]["timestamp"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(), "{message}: {timestamp}");
}

/// Returns the fields of an operator's call that changes something, or would have.
fn admin_call(rpc: &str, product_id: i64, outcome: &str) -> Value {
    let method = format!("flashsale.v1.AdminService/{rpc}");
    json!({"principal": "unknown", "method": method, "product_id": product_id, "outcome": outcome})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_its_line_with_its_fields() {
    let database = TestDatabase::create("log_lines").await;
    let proxy = Proxy::start(database.port()).await;
    let server = ServerProgram::start(&database.url_at(proxy.port()), &[]).await;
    let clients = &server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let released = clients.hold(product_id, 1).await.unwrap().hold_id;
    clients.release(released).await.unwrap();
    let unwanted = clients.hold(product_id, 2).await.unwrap().hold_id;
    let unwanted = clients.order(unwanted).await.unwrap().order_id;
    for _ in 0..2 {
        clients.cancel(unwanted).await.unwrap();
    }
    clients.pause(product_id, false).await.unwrap();
    clients.pause(999, true).await.unwrap_err();
    clients.adjust(product_id, -11, "too many").await.unwrap_err();
    let expired = clients.hold(product_id, 8).await.unwrap().hold_id;
    database.move_times("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND").await;
    let used = clients.hold(product_id, 3).await.unwrap().hold_id;
    let order_id = clients.order(used).await.unwrap().order_id;
    clients.pay("first key", order_id, PaymentStatus::Success).await.unwrap();
    clients.pay("first key", order_id, PaymentStatus::Success).await.unwrap();
    clients.pay("first key", order_id, PaymentStatus::Failure).await.unwrap();
    clients.pay("second key", order_id, PaymentStatus::Success).await.unwrap();
    for amount_cents in [Some(3000), Some(2999), Some(3000), None] {
        clients.pay_by(event("third key", order_id, PaymentStatus::Failure, amount_cents)).await.unwrap();
    }
    clients.pay("stray key", 999, PaymentStatus::Success).await.unwrap_err();
    clients.pay("bad status", order_id, PaymentStatus::Unspecified).await.unwrap_err();
    clients.pay("first key", 998, PaymentStatus::Success).await.unwrap_err();
    let unpaid = clients.hold(product_id, 7).await.unwrap().hold_id;
    let overdue = clients.order(unpaid).await.unwrap().order_id;
    let overdue_now = "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id =";
    database.move_times(&format!("{overdue_now} {overdue}")).await;
    // None is left, so these units come back from the overdue order.
    clients.hold(product_id, 2).await.unwrap();
    proxy.cut();
    let failed = clients.pay("in the outage", order_id, PaymentStatus::Success).await;
    assert_refused(failed, tonic::Code::Unavailable, "DATABASE_UNAVAILABLE");
    proxy.heal();

    let lines = server.stop().await;
    for (message, level, fields) in [
        ("Hold created", "INFO", json!({"hold_id": released, "product_id": product_id, "qty": 1})),
        ("Hold released", "INFO", json!({"hold_id": released, "product_id": product_id, "qty": 1})),
        ("Order cancelled", "INFO", json!({"order_id": unwanted, "product_id": product_id, "qty": 2})),
        ("Admin call", "INFO", admin_call("CreateProduct", product_id, "ok")),
        ("Admin call", "INFO", admin_call("UpdateProduct", product_id, "ok")),
        ("Admin call", "INFO", admin_call("UpdateProduct", 999, "product_not_found")),
        ("Admin call", "INFO", admin_call("AdjustStock", product_id, "out_of_stock")),
        ("Hold created", "INFO", json!({"hold_id": expired, "product_id": product_id, "qty": 8})),
        ("Hold expired and stock released", "INFO", json!({"hold_id": expired, "product_id": product_id, "qty": 8})),
        ("Hold created", "INFO", json!({"hold_id": used, "product_id": product_id, "qty": 3})),
        ("Order created", "INFO", json!({"order_id": order_id, "hold_id": used, "product_id": product_id, "qty": 3})),
        (
            "Payment webhook handled",
            "INFO",
            json!({"idempotency_key": "first key", "order_id": order_id, "result": "applied", "first_time": true}),
        ),
        (
            "Payment webhook repeated with another status or amount: the first one counts",
            "WARN",
            json!({"idempotency_key": "first key", "order_id": order_id}),
        ),
        (
            "Payment webhook repeated with another status or amount: the first one counts",
            "WARN",
            json!({"idempotency_key": "third key", "order_id": order_id, "amount_cents": 2999}),
        ),
        (
            "Payment webhook handled",
            "INFO",
            json!({
                "idempotency_key": "second key", "order_id": order_id, "result": "duplicate_success",
                "first_time": true
            }),
        ),
        (
            "Payment needs a refund",
            "WARN",
            json!({"idempotency_key": "second key", "order_id": order_id, "kind": "duplicate_success"}),
        ),
        ("Order cancelled: payment overdue", "INFO", json!({"order_id": overdue, "product_id": product_id, "qty": 7})),
        (
            "Payment webhook handled",
            "INFO",
            json!({"idempotency_key": "third key", "order_id": order_id, "result": "unchanged", "first_time": true}),
        ),
        (
            "Payment webhook refused",
            "WARN",
            json!({"reason": "ORDER_NOT_FOUND", "idempotency_key": "stray key", "order_id": 999}),
        ),
        (
            "Payment webhook refused",
            "WARN",
            json!({"reason": "INVALID_ARGUMENT", "idempotency_key": "bad status", "order_id": order_id}),
        ),
        (
            "Payment webhook refused",
            "WARN",
            json!({"reason": "IDEMPOTENCY_KEY_REUSED", "idempotency_key": "first key", "order_id": 998}),
        ),
        ("Payment webhook failed", "ERROR", json!({"idempotency_key": "in the outage", "order_id": order_id})),
    ] {
        assert_line(&lines, message, level, &fields);
    }
    assert!(lines_of(&lines, "Payment webhook failed")[0]["error"].is_string());
    let replayed = lines_of(&lines, "Payment webhook handled").into_iter().filter(|line| line["result"] == "replayed");
    let replayed: Vec<_> = replayed.map(|line| line["idempotency_key"].as_str().unwrap()).collect();
    assert_eq!(replayed, ["first key", "first key", "third key", "third key", "third key"]);
    let repeated = "Payment webhook repeated with another status or amount: the first one counts";
    assert_eq!(lines_of(&lines, repeated).len(), 2, "{lines:#?}");
    assert_eq!(lines_of(&lines, "Shutting down").len(), 1, "{lines:#?}");
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// Returns the number of a counter, or 0 where it is missing.
fn counter(page: &str, name_and_labels: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
    line.map_or(0.0, |number| number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_counts_holds_webhooks_conflicts_and_sweeps() {
    let database = TestDatabase::create("metrics").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let clients = &server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let request = crate::support::sale::repeatable_hold(product_id, 2, "mine");
    let hold_id = clients.hold_by(request.clone()).await.unwrap().hold_id;
    clients.hold_by(request).await.unwrap();
    clients.hold(product_id, 99).await.unwrap_err();
    clients.hold(999, 1).await.unwrap_err();
    let order_id = clients.order(hold_id).await.unwrap().order_id;
    clients.pay("key", order_id, PaymentStatus::Success).await.unwrap();
    clients.pay("key", order_id, PaymentStatus::Success).await.unwrap();
    clients.pay("stray", 999, PaymentStatus::Success).await.unwrap_err();
    clients.hold(product_id, 4).await.unwrap();

    // A lock wait ends when its holder is killed or lets go, and then the second run finds the row free.
    let mut holder = database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let conflict = r#"flashsale_db_lock_conflicts_total{kind="lock_wait",transaction="create_hold"}"#;
    let let_go = async {
        wait::eventually(LIMIT, "the conflict", async || counter(&server.metrics().await, conflict) == 1.0).await;
        holder.execute("ROLLBACK").await;
    };
    let (held, ()) = tokio::join!(clients.hold(product_id, 1), let_go);
    held.unwrap();

    database.move_times("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE qty = 4").await;
    assert_eq!(sweep(&database.url(), &[]).await.0, 0);
    let swept = "flashsale_sweeper_runs_total";
    wait::eventually(LIMIT, "the sweep's totals", async || counter(&server.metrics().await, swept) == 1.0).await;
    let page = server.metrics().await;
    for (name_and_labels, expected) in [
        (r#"flashsale_hold_requests_total{outcome="created"}"#, 3.0),
        (r#"flashsale_hold_requests_total{outcome="replayed"}"#, 1.0),
        (r#"flashsale_hold_requests_total{outcome="out_of_stock"}"#, 1.0),
        (r#"flashsale_hold_requests_total{outcome="product_not_found"}"#, 1.0),
        (r#"flashsale_webhook_duration_seconds_count{outcome="applied"}"#, 1.0),
        (r#"flashsale_webhook_duration_seconds_count{outcome="replayed"}"#, 1.0),
        (r#"flashsale_webhook_duration_seconds_count{outcome="refused"}"#, 1.0),
        (conflict, 1.0),
        ("flashsale_sweeper_holds_expired_total", 1.0),
        ("flashsale_sweeper_stock_released_total", 4.0),
        ("flashsale_sweeper_orders_cancelled_total", 0.0),
    ] {
        assert_eq!(counter(&page, name_and_labels), expected, "{name_and_labels} in\n{page}");
    }
    let last_run = counter(&page, "flashsale_sweeper_last_success_timestamp_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - last_run).abs() < 120.0, "{last_run}");
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_measures_by_route_and_status() {
    let database = TestDatabase::create("gateway_metrics").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let gateway = GatewayProgram::start(&server.address, &[("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", gateway.address);
    for path in [format!("/api/products/{product_id}"), "/api/products/999".to_owned(), "/nowhere".to_owned()] {
        client.get(url(&path)).send().await.unwrap();
    }
    let body = json!({"product_id": product_id, "qty": 1});
    client.post(url("/api/holds")).json(&body).send().await.unwrap();
    let page = gateway.metrics().await;
    for labels in [
        r#"{http_request_method="GET",http_response_status_code="200",http_route="/api/products/{id}"}"#,
        r#"{http_request_method="GET",http_response_status_code="404",http_route="/api/products/{id}"}"#,
        r#"{http_request_method="POST",http_response_status_code="201",http_route="/api/holds"}"#,
        r#"{http_request_method="GET",http_response_status_code="404"}"#,
    ] {
        let name = format!("http_server_request_duration_seconds_count{labels}");
        assert_eq!(counter(&page, &name), 1.0, "{labels} in\n{page}");
    }
    gateway.stop().await;
    server.stop().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

//! Tests the whole stack: HTTP to the gateway program, gRPC to the server program, SQL to a database.

mod malformed;
mod stripe;

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{
    gateway::refusal,
    gateway_webhook::{SECRET, now, signature},
    support::{
        database::TestDatabase,
        mysqld::free_port,
        programs::{GatewayProgram, ServerProgram, lines_of},
        wait,
    },
};

const LIMIT: Duration = Duration::from_secs(60);
const WEBHOOK: &str = "/api/payments/webhook";
const UNSIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");

/// Holds a database, a server, a gateway, and an HTTP client that follows no redirect.
struct Stack {
    database: TestDatabase,
    server: ServerProgram,
    gateway: GatewayProgram,
    http: Client,
}

impl Stack {
    async fn start(name: &str, gateway_settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create(name).await;
        let server = ServerProgram::start(&database.url(), &[]).await;
        let gateway = GatewayProgram::start(&server.address, gateway_settings).await;
        Self { database, server, gateway, http: client() }
    }

    /// Creates a product of 1000 cents a unit.
    async fn product(&self, stock: i64) -> i64 {
        self.server.clients.create_product("Flash Sale Item", 1000, stock).await.product_id
    }

    async fn stock(&self, product_id: i64) -> i64 {
        self.server.clients.available_stock(product_id).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address)
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    fn posting(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).json(body)
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.posting(path, &body).send().await.unwrap()
    }

    /// Makes a hold of `qty` units, which must be granted.
    async fn hold(&self, product_id: i64, qty: i32) -> i64 {
        let body = answered(self.post("/api/holds", json!({"product_id": product_id, "qty": qty})).await, 201).await;
        body["hold_id"].as_i64().unwrap()
    }

    /// Makes an order of `qty` units, which must be granted.
    async fn order(&self, product_id: i64, qty: i32) -> i64 {
        let hold_id = self.hold(product_id, qty).await;
        let body = answered(self.post("/api/orders", json!({"hold_id": hold_id})).await, 201).await;
        body["order_id"].as_i64().unwrap()
    }

    async fn finish(self) {
        self.gateway.stop().await;
        self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
    }
}

fn client() -> Client {
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.timeout(Duration::from_secs(20)).build().unwrap()
}

/// Returns the body of an answer with this status.
async fn answered(answer: Response, status: u16) -> Value {
    let (found, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body: Value = answer.json().await.unwrap();
    assert_eq!(found, status, "{body}");
    assert_eq!(headers["content-type"], "application/json");
    body
}

fn event(key: &str, order_id: i64, status: &str) -> Value {
    json!({"idempotency_key": key, "order_id": order_id, "status": status})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_has_exactly_the_documented_answers() {
    let stack = Stack::start("purchase", &[UNSIGNED]).await;
    let id = stack.product(100).await;
    let product = answered(stack.get(&format!("/api/products/{id}")).await, 200).await;
    let expected = json!({"id": id, "name": "Flash Sale Item", "price_cents": 1000, "available_stock": 100});
    assert_eq!(product, expected);

    let before = Utc::now();
    let hold = answered(stack.post("/api/holds", json!({"product_id": id, "qty": 5})).await, 201).await;
    let hold_id = hold["hold_id"].as_i64().unwrap();
    let expires_at = hold["expires_at"].as_str().unwrap();
    assert_eq!(hold, json!({"hold_id": hold_id, "expires_at": expires_at}));
    assert!(expires_at.len() == "2025-01-27T12:32:00+00:00".len() && expires_at.ends_with("+00:00"), "{expires_at}");
    let left = DateTime::parse_from_rfc3339(expires_at).unwrap().to_utc() - before;
    assert!((118..=180).contains(&left.num_seconds()), "{left}");
    assert_eq!(stack.stock(id).await, 95);

    let order = answered(stack.post("/api/orders", json!({"hold_id": hold_id})).await, 201).await;
    let order_id = order["order_id"].as_i64().unwrap();
    assert_eq!(order, json!({"order_id": order_id, "status": "pending"}));

    let paid = json!({"order_id": order_id, "order_status": "paid", "idempotency_key": "webhook-key-123"});
    for _first_and_repeat in 0..2 {
        let answer = stack.post(WEBHOOK, event("webhook-key-123", order_id, "success")).await;
        assert_eq!(answered(answer, 200).await, paid);
    }
    let product = answered(stack.get(&format!("/api/products/{id}")).await, 200).await;
    assert_eq!(product["available_stock"], 95);
    assert_eq!(answered(stack.get("/healthz").await, 200).await, json!({"status": "ok"}));
    assert_eq!(answered(stack.get("/readyz").await, 200).await, json!({"status": "ready"}));
    stack.finish().await;
}

/// A shop greys out its button at 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_whose_holds_and_orders_are_past_their_time_is_not_shown_as_sold_out() {
    let stack = Stack::start("shown_as_available", &[UNSIGNED]).await;
    let id = stack.product(5).await;
    stack.hold(id, 3).await;
    stack.order(id, 2).await;
    let shown =
        async || answered(stack.get(&format!("/api/products/{id}")).await, 200).await["available_stock"].clone();
    assert_eq!(shown().await, 0);
    let past = "UTC_TIMESTAMP(6) - INTERVAL 1 SECOND";
    stack.database.move_times(&format!("UPDATE orders SET payment_due_at = {past}")).await;
    assert_eq!(shown().await, 2);
    stack.database.move_times(&format!("UPDATE holds SET expires_at = {past} WHERE status = 'active'")).await;
    assert_eq!(shown().await, 5);
    let more = refusal(stack.post("/api/holds", json!({"product_id": id, "qty": 6})).await, 422, "OUT_OF_STOCK").await;
    assert_eq!(more["details"]["availableStock"], "5");
    stack.hold(id, 5).await;
    assert_eq!(shown().await, 0);
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_payment_gives_back_and_a_payment_too_many_is_to_be_refunded() {
    let stack = Stack::start("refunds", &[UNSIGNED]).await;
    let id = stack.product(10).await;
    let order_id = stack.order(id, 4).await;
    let failed = answered(stack.post(WEBHOOK, event("f", order_id, "failure")).await, 200).await;
    assert_eq!(failed, json!({"order_id": order_id, "order_status": "cancelled", "idempotency_key": "f"}));
    assert_eq!(stack.stock(id).await, 10);
    let late = answered(stack.post(WEBHOOK, event("late", order_id, "success")).await, 200).await;
    let expected = |key: &str, order_id: i64, status: &str| json!({"order_id": order_id, "order_status": status, "idempotency_key": key, "refund_required": true});
    assert_eq!(late, expected("late", order_id, "cancelled"));

    let order_id = stack.order(id, 1).await;
    let mut wrong_amount = event("amount", order_id, "success");
    wrong_amount["amount_cents"] = json!(999);
    let mismatch = answered(stack.post(WEBHOOK, wrong_amount).await, 200).await;
    assert_eq!(mismatch, expected("amount", order_id, "pending"));
    let mut right_amount = event("right", order_id, "success");
    right_amount["amount_cents"] = json!(1000);
    let paid = answered(stack.post(WEBHOOK, right_amount).await, 200).await;
    assert_eq!(paid, json!({"order_id": order_id, "order_status": "paid", "idempotency_key": "right"}));
    let twice = answered(stack.post(WEBHOOK, event("twice", order_id, "success")).await, 200).await;
    assert_eq!(twice, expected("twice", order_id, "paid"));
    assert_eq!(stack.stock(id).await, 9);
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_status_reason_and_details() {
    let stack = Stack::start("refusals", &[UNSIGNED]).await;
    let id = stack.product(5).await;
    let unknown = refusal(stack.get("/api/products/999").await, 404, "PRODUCT_NOT_FOUND").await;
    assert_eq!(unknown["details"], json!({"productId": "999"}));
    refusal(stack.get("/api/products/shoe").await, 404, "PRODUCT_NOT_FOUND").await;

    let answer = stack.post("/api/holds", json!({"product_id": 999, "qty": 1})).await;
    let unknown = refusal(answer, 422, "PRODUCT_NOT_FOUND").await;
    assert!(unknown["errors"]["product_id"].is_array(), "{unknown}");
    let sold_out = refusal(stack.post("/api/holds", json!({"product_id": id, "qty": 6})).await, 422, "OUT_OF_STOCK");
    assert_eq!(
        sold_out.await,
        json!({
            "message": "Not enough stock", "reason": "OUT_OF_STOCK", "errors": {"qty": ["Not enough stock"]},
            "details": {"productId": id.to_string(), "requested": "6", "availableStock": "5"}
        })
    );
    let answer = stack.post("/api/orders", json!({"hold_id": 999})).await;
    assert_eq!(refusal(answer, 422, "HOLD_NOT_FOUND").await["details"], json!({"holdId": "999"}));

    let hold_id = stack.hold(id, 1).await;
    let order = json!({"hold_id": hold_id});
    let order_id = answered(stack.post("/api/orders", order.clone()).await, 201).await["order_id"].clone();
    let used = refusal(stack.post("/api/orders", order).await, 422, "HOLD_USED").await;
    assert_eq!(used["details"], json!({"holdId": hold_id.to_string(), "orderId": order_id.to_string()}));

    let expired = stack.hold(id, 1).await;
    stack
        .database
        .move_times(&format!("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id = {expired}"))
        .await;
    let answer = stack.post("/api/orders", json!({"hold_id": expired})).await;
    refusal(answer, 422, "HOLD_EXPIRED").await;
    let cancelled = stack.hold(id, 1).await;
    stack.server.clients.release(cancelled).await.unwrap();
    let answer = stack.post("/api/orders", json!({"hold_id": cancelled})).await;
    refusal(answer, 422, "HOLD_CANCELLED").await;

    let order_id = order_id.as_i64().unwrap();
    answered(stack.post(WEBHOOK, event("key", order_id, "success")).await, 200).await;
    let answer = stack.post(WEBHOOK, event("key", order_id + 1, "success")).await;
    refusal(answer, 409, "IDEMPOTENCY_KEY_REUSED").await;

    stack.database.execute("UPDATE products SET paused = TRUE").await;
    refusal(stack.post("/api/holds", json!({"product_id": id, "qty": 1})).await, 422, "SALE_PAUSED").await;
    stack.database.execute("UPDATE products SET paused = FALSE, max_per_buyer = 1, ends_at = NULL").await;
    let of_a_buyer = json!({"product_id": id, "qty": 2, "buyer_id": "ann"});
    let limited = refusal(stack.post("/api/holds", of_a_buyer).await, 422, "BUYER_LIMIT").await;
    assert_eq!(limited["details"], json!({"limit": "1", "alreadyTaken": "0"}));
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_before_its_order_is_refused_and_then_taken_with_the_same_key() {
    let stack = Stack::start("early_event", &[UNSIGNED]).await;
    let id = stack.product(10).await;
    let next_order = 1;
    let answer = stack.post(WEBHOOK, event("early", next_order, "success")).await;
    assert_eq!(answer.headers()["retry-after"], "5");
    refusal(answer, 422, "ORDER_NOT_FOUND").await;
    assert_eq!(stack.database.query_i64("SELECT COUNT(*) FROM payment_webhooks").await, 0);
    assert_eq!(stack.order(id, 2).await, next_order);
    assert_eq!(stack.server.clients.get_order(next_order).await.unwrap().status(), flashsale::pb::OrderStatus::Pending);
    let paid = answered(stack.post(WEBHOOK, event("early", next_order, "success")).await, 200).await;
    assert_eq!(paid["order_status"], "paid");
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_signed_by_the_python_package_is_taken_and_no_other() {
    let stack = Stack::start("signed", &[("FLASHSALE_WEBHOOK_SECRETS", SECRET)]).await;
    let id = stack.product(10).await;
    let order_id = stack.order(id, 2).await;
    let body = event("signed", order_id, "success").to_string();
    let sent = now();
    let good = signature(SECRET, "msg_1", sent, &body);
    let deliver = async |body: &str, signature: &str| {
        let request = stack.http.post(stack.url(WEBHOOK)).header("content-type", "application/json");
        let request = request.header("webhook-id", "msg_1").header("webhook-timestamp", sent.to_string());
        request.header("webhook-signature", signature).body(body.to_owned()).send().await.unwrap()
    };
    refusal(stack.post(WEBHOOK, event("signed", order_id, "success")).await, 401, "UNAUTHENTICATED").await;
    refusal(deliver(&body.replace("success", "failure"), &good).await, 401, "UNAUTHENTICATED").await;
    assert_eq!(stack.database.query_i64("SELECT COUNT(*) FROM payment_webhooks").await, 0);
    let paid = answered(deliver(&body, &good).await, 200).await;
    assert_eq!(paid, json!({"order_id": order_id, "order_status": "paid", "idempotency_key": "signed"}));
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_holds_and_orders_repeatable() {
    let stack = Stack::start("repeats", &[UNSIGNED]).await;
    let id = stack.product(10).await;
    let keyed = async |path: &str, key: &str, body: Value| {
        stack.posting(path, &body).header("Idempotency-Key", key).send().await.unwrap()
    };
    let hold = json!({"product_id": id, "qty": 3});
    let first = answered(keyed("/api/holds", "mine", hold.clone()).await, 201).await;
    assert_eq!(answered(keyed("/api/holds", "mine", hold).await, 201).await, first);
    assert_ne!(answered(keyed("/api/holds", "Mine", json!({"product_id": id, "qty": 3})).await, 201).await, first);
    assert_eq!(stack.stock(id).await, 4);
    let other = keyed("/api/holds", "mine", json!({"product_id": id, "qty": 4})).await;
    let reused = refusal(other, 409, "REQUEST_ID_REUSED").await;
    assert!(reused["errors"]["Idempotency-Key"].is_array(), "{reused}");

    let order = json!({"hold_id": first["hold_id"]});
    let ordered = answered(keyed("/api/orders", "mine", order.clone()).await, 201).await;
    assert_eq!(answered(keyed("/api/orders", "mine", order.clone()).await, 201).await, ordered);
    refusal(keyed("/api/orders", "other", order).await, 422, "HOLD_USED").await;
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_is_in_the_servers_log_lines() {
    let stack = Stack::start("trace", &[UNSIGNED]).await;
    let id = stack.product(10).await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = stack.posting("/api/holds", &json!({"product_id": id, "qty": 1}));
    let traced = traced.header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"));
    let hold_id = answered(traced.send().await.unwrap(), 201).await["hold_id"].as_i64().unwrap();
    let untraced = stack.hold(id, 1).await;
    let refused = stack.posting(WEBHOOK, &event("stray", 999, "success"));
    let refused = refused.header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-00"));
    refusal(refused.send().await.unwrap(), 422, "ORDER_NOT_FOUND").await;

    let Stack { database, server, gateway, .. } = stack;
    gateway.stop().await;
    let lines = server.stop().await;
    let created = lines_of(&lines, "Hold created");
    let line = |hold_id: i64| created.iter().find(|line| line["hold_id"] == hold_id).unwrap();
    assert_eq!(line(hold_id)["trace_id"], trace_id);
    // The programs export nothing here, so the caller's span is the last one of the trace.
    assert_eq!(line(hold_id)["span_id"], "00f067aa0ba902b7");
    assert!(line(untraced)["trace_id"].is_null());
    assert_eq!(lines_of(&lines, "Payment webhook refused")[0]["trace_id"], trace_id);
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_503_or_504_and_served_again_when_it_is_back() {
    let database = TestDatabase::create("server_away").await;
    let address = format!("127.0.0.1:{}", free_port());
    let server = ServerProgram::start_at(&address, &database.url(), &[]).await;
    let gateway = GatewayProgram::start(&address, &[UNSIGNED, ("FLASHSALE_GATEWAY_TIMEOUT", "2s")]).await;
    let mut stack = Stack { database, server, gateway, http: client() };
    let id = stack.product(10).await;
    let hold_id = stack.hold(id, 1).await;
    let ready = async |stack: &Stack| stack.get("/readyz").await.status() == 200;
    wait::eventually(LIMIT, "readyz", async || ready(&stack).await).await;

    let Stack { database, server, gateway, http } = stack;
    server.stop().await;
    // This server is only an address for calls to go to.
    let away = |gateway: &GatewayProgram, path: &str| format!("http://{}{path}", gateway.address);
    let answer = http.get(away(&gateway, "/readyz")).send().await.unwrap();
    refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
    assert_eq!(http.get(away(&gateway, "/healthz")).send().await.unwrap().status(), 200);
    for (path, body) in [
        ("/api/holds", json!({"product_id": id, "qty": 1})),
        ("/api/orders", json!({"hold_id": hold_id})),
        (WEBHOOK, event("key", 1, "success")),
    ] {
        let answer = http.post(away(&gateway, path)).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(status == 503 || status == 504, "{path}: {status}");
        assert!(status == 504 || answer.headers().contains_key("retry-after"), "{path}");
    }

    let server = ServerProgram::start_at(&address, &database.url(), &[]).await;
    stack = Stack { database, server, gateway, http };
    wait::eventually(LIMIT, "readyz again", async || ready(&stack).await).await;
    answered(stack.post("/api/orders", json!({"hold_id": hold_id})).await, 201).await;
    assert_eq!(stack.stock(id).await, 9);
    stack.finish().await;
}

/// While the database is away the server still runs: its own refusal comes through, and readyz says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_503_with_a_retry_after() {
    let database = TestDatabase::create("database_away").await;
    let proxy = crate::support::proxy::Proxy::start(database.port()).await;
    let server = ServerProgram::start(&database.url_at(proxy.port()), &[]).await;
    let gateway = GatewayProgram::start(&server.address, &[UNSIGNED]).await;
    let stack = Stack { database, server, gateway, http: client() };
    let id = stack.product(10).await;
    let order_id = stack.order(id, 1).await;
    proxy.cut();
    for answer in [
        stack.get(&format!("/api/products/{id}")).await,
        stack.post("/api/holds", json!({"product_id": id, "qty": 1})).await,
        stack.post(WEBHOOK, event("key", order_id, "success")).await,
    ] {
        assert_eq!(answer.headers()["retry-after"], "1");
        refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
    }
    wait::eventually(LIMIT, "readyz", async || stack.get("/readyz").await.status() == 503).await;
    proxy.heal();
    wait::eventually(LIMIT, "readyz again", async || stack.get("/readyz").await.status() == 200).await;
    assert_eq!(
        answered(stack.post(WEBHOOK, event("key", order_id, "success")).await, 200).await["order_status"],
        "paid"
    );
    stack.finish().await;
}

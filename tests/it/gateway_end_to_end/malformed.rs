//! Sends malformed input to the whole stack: it gets documented answers, never a 5xx, and stores nothing.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Stack, UNSIGNED, WEBHOOK, refusal};
use crate::support::programs::lines_of;

const REASONS: [(u16, &[&str]); 7] = [
    (400, &["BAD_JSON"]),
    (404, &["PRODUCT_NOT_FOUND", "ROUTE_NOT_FOUND"]),
    (405, &["METHOD_NOT_ALLOWED"]),
    (409, &["REQUEST_ID_REUSED", "IDEMPOTENCY_KEY_REUSED"]),
    (413, &["TOO_LARGE"]),
    (415, &["UNSUPPORTED_MEDIA_TYPE"]),
    (
        422,
        &[
            "INVALID_ARGUMENT",
            "PRODUCT_NOT_FOUND",
            "HOLD_NOT_FOUND",
            "ORDER_NOT_FOUND",
            "OUT_OF_STOCK",
            "HOLD_USED",
            "HOLD_EXPIRED",
            "HOLD_CANCELLED",
        ],
    ),
];

/// Sends a request, checks that the answer is a documented one, and returns its status and reason.
async fn send(stack: &Stack, method: &str, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = stack.http.request(method.clone(), stack.url(path)).header("content-type", "application/json");
    let answer = request.body(body).send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    if method == Method::HEAD {
        assert!(status < 500, "{method} {path}: {status}");
        return (status, String::new());
    }
    let body: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {status} {error}: {text}"));
    if status == 200 || status == 201 {
        return (status, String::new());
    }
    let reason = body["reason"].as_str().unwrap_or_else(|| panic!("{method} {path}: {status} {body}"));
    let documented = REASONS.iter().any(|(code, reasons)| *code == status && reasons.contains(&reason));
    assert!(documented, "{method} {path}: {status} {body}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    (status, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_has_the_documented_answer_and_stores_nothing() {
    let stack = Stack::start("malformed", &[UNSIGNED]).await;
    let id = stack.product(10).await;
    let hold = |product_id: &str, qty: &str| format!(r#"{{"product_id":{product_id},"qty":{qty}}}"#);
    let event = |key: &str, order_id: &str, status: &str| {
        format!(r#"{{"idempotency_key":{key},"order_id":{order_id},"status":{status}}}"#)
    };
    let good = id.to_string();
    let deep = "[".repeat(10_000);
    let long_key = format!("\"{}\"", "k".repeat(256));
    let holds: Vec<(String, u16, &str)> = vec![
        (String::new(), 400, "BAD_JSON"),
        ("{".to_owned(), 400, "BAD_JSON"),
        (deep, 400, "BAD_JSON"),
        ("[]".to_owned(), 422, "INVALID_ARGUMENT"),
        ("null".to_owned(), 422, "INVALID_ARGUMENT"),
        ("{}".to_owned(), 422, "INVALID_ARGUMENT"),
        (hold("null", "1"), 422, "INVALID_ARGUMENT"),
        (hold("0", "1"), 422, "INVALID_ARGUMENT"),
        (hold("-1", "1"), 422, "INVALID_ARGUMENT"),
        (hold("1.5", "1"), 422, "INVALID_ARGUMENT"),
        (hold("1e400", "1"), 422, "INVALID_ARGUMENT"),
        (hold("9223372036854775808", "1"), 422, "INVALID_ARGUMENT"),
        (hold("9223372036854775807", "1"), 422, "PRODUCT_NOT_FOUND"),
        (hold(&format!("\"{good}\""), "1"), 422, "INVALID_ARGUMENT"),
        (hold(&good, "0"), 422, "INVALID_ARGUMENT"),
        (hold(&good, "-5"), 422, "INVALID_ARGUMENT"),
        (hold(&good, "2147483648"), 422, "INVALID_ARGUMENT"),
        (hold(&good, "2147483647"), 422, "OUT_OF_STOCK"),
        (hold(&good, "true"), 422, "INVALID_ARGUMENT"),
        (hold(&good, "{\"qty\":1}"), 422, "INVALID_ARGUMENT"),
        (format!(r#"{{"product_id":{good},"qty":1,"buyer_id":""}}"#), 422, "INVALID_ARGUMENT"),
        (format!(r#"{{"product_id":{good},"qty":1,"buyer_id":"ann "}}"#), 422, "INVALID_ARGUMENT"),
        (format!(r#"{{"product_id":{good},"qty":1,"buyer_id":"{}"}}"#, "x".repeat(256)), 422, "INVALID_ARGUMENT"),
        (format!(r#"{{"product_id":{good},"qty":1,"buyer_id":7}}"#), 422, "INVALID_ARGUMENT"),
        (" ".repeat(64 * 1024 + 1), 413, "TOO_LARGE"),
    ];
    for (body, status, reason) in holds {
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!(send(&stack, "POST", "/api/holds", body).await, (status, reason.to_owned()), "{shown}");
    }
    for (body, status, reason) in [
        (r#"{"hold_id":"1"}"#, 422, "INVALID_ARGUMENT"),
        (r#"{"hold_id":0}"#, 422, "INVALID_ARGUMENT"),
        (r#"{"hold_id":9223372036854775807}"#, 422, "HOLD_NOT_FOUND"),
        (r#"{"hold_id":[1]}"#, 422, "INVALID_ARGUMENT"),
        (r#"{"HOLD_ID":1}"#, 422, "INVALID_ARGUMENT"),
    ] {
        assert_eq!(send(&stack, "POST", "/api/orders", body).await, (status, reason.to_owned()), "{body}");
    }
    for (body, status, reason) in [
        (event(r#""""#, "1", r#""success""#), 422, "INVALID_ARGUMENT"),
        (event(&long_key, "1", r#""success""#), 422, "INVALID_ARGUMENT"),
        (event(r#""\u0000'; DROP TABLE orders; --""#, "1", r#""success""#), 422, "ORDER_NOT_FOUND"),
        (event(r#""k""#, "0", r#""success""#), 422, "INVALID_ARGUMENT"),
        (event(r#""k""#, "1", r#""SUCCESS""#), 422, "INVALID_ARGUMENT"),
        (event(r#""k""#, "1", "1"), 422, "INVALID_ARGUMENT"),
        (event(r#""k""#, "1", "null"), 422, "INVALID_ARGUMENT"),
        (event(r#""\ud800""#, "1", r#""success""#), 400, "BAD_JSON"),
        (
            r#"{"idempotency_key":"k","order_id":1,"status":"success","amount_cents":-1}"#.to_owned(),
            422,
            "INVALID_ARGUMENT",
        ),
    ] {
        let (found, found_reason) = send(&stack, "POST", WEBHOOK, body.clone()).await;
        // The JSON reader decides how it refuses a lone surrogate: as no JSON, or as no string.
        let either = body.contains("ud800") && found == 422 && found_reason == "INVALID_ARGUMENT";
        assert!(either || (found, found_reason.as_str()) == (status, reason), "{body}: {found} {found_reason}");
    }
    for table in ["holds", "orders", "payment_webhooks"] {
        assert_eq!(stack.database.query_i64(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(stack.stock(id).await, 10);
    stack.finish().await;
}

/// The server checks the bounds, and the answer names the fields as the caller sent them.
#[tokio::test(flavor = "multi_thread")]
async fn every_field_out_of_bounds_is_named_in_one_answer() {
    let stack = Stack::start("bounds", &[UNSIGNED]).await;
    let hold = json!({"product_id": 0, "qty": -5, "buyer_id": "ann "});
    let hold = stack.http.post(stack.url("/api/holds")).header("idempotency-key", "k".repeat(256)).json(&hold);
    let key = "must be 1 to 255 bytes of UTF-8 without control characters and without a space at either end";
    let body = refusal(hold.send().await.unwrap(), 422, "INVALID_ARGUMENT").await;
    assert_eq!(
        body["errors"],
        json!({
            "product_id": ["must be at least 1, got 0"],
            "qty": ["must be at least 1, got -5"],
            "buyer_id": [key],
            "Idempotency-Key": [key],
        })
    );
    let event = json!({"idempotency_key": "", "order_id": 0, "status": "success", "amount_cents": -1});
    let body = refusal(stack.post(WEBHOOK, event).await, 422, "INVALID_ARGUMENT").await;
    assert_eq!(
        body["errors"],
        json!({
            "idempotency_key": ["must be 1 to 255 bytes, got 0"],
            "order_id": ["must be at least 1, got 0"],
            "amount_cents": ["must be at least 0, got -1"],
        })
    );
    let refused = |lines: Vec<Value>| lines_of(&lines, "Payment webhook refused").len();
    assert_eq!(refused(stack.gateway.stop().await), 0);
    assert_eq!(refused(stack.server.stop().await), 1, "the program that refuses a delivery logs it, once");
}

/// Makes a JSON value that is mostly near what a field accepts.
fn value(random: &mut StdRng) -> String {
    const VALUES: [&str; 26] = [
        "0",
        "1",
        "2",
        "-1",
        "1.0",
        "1e2",
        "1e999",
        "-0",
        "2147483647",
        "2147483648",
        "9223372036854775807",
        "18446744073709551616",
        "null",
        "true",
        "\"\"",
        "\"1\"",
        "\"success\"",
        "\"failure\"",
        "\"\\u0000\"",
        "\"\u{1f680}\"",
        "[]",
        "[1]",
        "{}",
        "{\"a\":1}",
        "\"k\"",
        "\"x y\"",
    ];
    match random.random_range(0..10) {
        0 => random.random::<i64>().to_string(),
        1 => format!("\"{}\"", "k".repeat(random.random_range(0..300))),
        _ => (*VALUES.choose(random).unwrap()).to_owned(),
    }
}

/// Makes a body near one that is accepted.
///
/// Some values are odd, some fields are missing or come twice. Some bodies are cut, have another byte somewhere, or are
/// noise.
fn body(random: &mut StdRng) -> Vec<u8> {
    const BODIES: [&[(&str, &str)]; 4] = [
        &[("product_id", "1"), ("qty", "1")],
        &[("product_id", "1"), ("qty", "1"), ("buyer_id", "\"ann\"")],
        &[("hold_id", "1")],
        &[("idempotency_key", "\"k\""), ("order_id", "1"), ("status", "\"success\""), ("amount_cents", "1000")],
    ];
    let mut fields = Vec::new();
    for (name, usual) in *BODIES.choose(random).unwrap() {
        for _ in 0..*[0, 1, 1, 1, 1, 1, 1, 1, 2].choose(random).unwrap() {
            let value = if random.random_range(0..4) == 0 { value(random) } else { (*usual).to_owned() };
            fields.push(format!("\"{name}\":{value}"));
        }
    }
    let mut body = format!("{{{}}}", fields.join(",")).into_bytes();
    match random.random_range(0..12) {
        0 => body.truncate(random.random_range(0..=body.len())),
        1 => {
            let at = random.random_range(0..body.len());
            body[at] = random.random();
        }
        2 => {
            body = vec![0; random.random_range(0..200)];
            random.fill_bytes(&mut body);
        }
        _ => {}
    }
    body
}

fn path(random: &mut StdRng) -> String {
    const PATHS: [&str; 12] = [
        "/api/holds",
        "/api/holds",
        "/api/holds",
        "/api/orders",
        "/api/orders",
        "/api/payments/webhook",
        "/api/payments/webhook",
        "/api/products/1",
        "/api/products/0",
        "/api/products/%00",
        "/",
        "/api/holds/1",
    ];
    let mut path = (*PATHS.choose(random).unwrap()).to_owned();
    if random.random_range(0..10) == 0 {
        let odd = ["%ff", "%2e%2e", "?a=b", "//", "é", ";", "'", "%", "\\"].choose(random).unwrap();
        path.push_str(odd);
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_at_random_is_answered_and_is_never_an_error_of_ours() {
    const SEED: u64 = 20_250_127;
    let stack = Stack::start("random", &[UNSIGNED]).await;
    let id = stack.product(100).await;
    let mut random = StdRng::seed_from_u64(SEED);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..600 {
        let method = *["POST", "POST", "POST", "POST", "GET", "PUT", "HEAD"].choose(&mut random).unwrap();
        let (path, body) = (path(&mut random), body(&mut random));
        *seen.entry(send(&stack, method, &path, body).await).or_insert(0) += 1;
    }
    // Some requests are accepted, and each kind of refusal occurs.
    for status in [200, 201, 400, 404, 405, 422] {
        assert!(seen.keys().any(|(found, _)| *found == status), "no {status} in {seen:?}");
    }
    assert_eq!(stack.product(1).await, id + 1, "and it still serves");
    let lines = stack.server.process.lines();
    assert!(lines_of(&lines, "Internal error").is_empty());
    let errors: Vec<&Value> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(errors.is_empty(), "{errors:?}");
    stack.finish().await;
}

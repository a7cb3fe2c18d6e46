//! Covers the gateway while its server is away, or is there and silent.

use std::time::{Duration, Instant};

use flashsale::gateway::WebhookAuth;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    gateway::{Gateway, refusal},
    support::programs::GatewayProgram,
};

const WEBHOOK: &str = r#"{"idempotency_key":"webhook-key-123","order_id":456,"status":"success"}"#;

/// Runs a server that accepts connections and never answers, and a gateway with this deadline.
async fn gateway_of_a_silent_server(call_time_max: Duration) -> (TcpListener, Gateway) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let gateway = Gateway::start(&url, call_time_max, WebhookAuth::Unsigned).await;
    (silent, gateway)
}

#[tokio::test]
async fn without_a_server_the_gateway_is_alive_and_not_ready() {
    let gateway = Gateway::without_server().await;
    let healthy = gateway.get("/healthz").await;
    assert_eq!(healthy.status(), 200);
    assert_eq!(healthy.json::<Value>().await.unwrap(), json!({"status": "ok"}));
    let answer = gateway.get("/readyz").await;
    assert_eq!(answer.headers()["retry-after"], "1");
    refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
}

#[tokio::test]
async fn without_a_server_every_call_may_be_repeated_soon() {
    let gateway = Gateway::without_server().await;
    let answers = [
        gateway.get("/api/products/1").await,
        gateway.post("/api/holds", r#"{"product_id":1,"qty":5}"#).await,
        gateway.post("/api/orders", r#"{"hold_id":123}"#).await,
        gateway.post("/api/payments/webhook", WEBHOOK).await,
    ];
    for answer in answers {
        assert_eq!(answer.headers()["retry-after"], "1");
        let body = refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
        let text = body.to_string();
        assert!(!text.contains("127.0.0.1") && !text.contains("error"), "{text}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let (_silent, gateway) = gateway_of_a_silent_server(Duration::from_millis(400)).await;
    let begun = Instant::now();
    let answers = tokio::join!(
        gateway.get("/api/products/1"),
        gateway.post("/api/holds", r#"{"product_id":1,"qty":5}"#),
        gateway.post("/api/orders", r#"{"hold_id":123}"#),
        gateway.post("/api/payments/webhook", WEBHOOK),
    );
    let spent = begun.elapsed();
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        refusal(answer, 504, "DEADLINE_EXCEEDED").await;
    }
    assert!(spent >= Duration::from_millis(400), "{spent:?}");
    assert!(spent < Duration::from_secs(4), "{spent:?}");
}

#[tokio::test]
async fn a_silent_server_is_not_ready_and_that_is_known_within_two_seconds() {
    let (_silent, gateway) = gateway_of_a_silent_server(Duration::from_secs(60)).await;
    let begun = Instant::now();
    refusal(gateway.get("/readyz").await, 503, "DATABASE_UNAVAILABLE").await;
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn callers_of_an_address_that_swallows_connections_wait_no_longer_than_their_deadline() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    // When its queue is full, the kernel leaves further connections unanswered.
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
        assert!(queued.len() < 100, "the queue must fill up");
    }
    let call_time_max = Duration::from_millis(600);
    let url = format!("http://{address}");
    let gateway = Gateway::start(&url, call_time_max, WebhookAuth::Unsigned).await;
    let first = gateway.get("/api/products/1").await;
    refusal(first, 503, "DATABASE_UNAVAILABLE").await;
    let begun = Instant::now();
    for answer in join_all((0..10).map(|_| gateway.get("/api/products/1"))).await {
        let status = answer.status().as_u16();
        assert!(matches!(status, 503 | 504), "{status}");
    }
    // One connection attempt after the other would take three seconds.
    let spent = begun.elapsed();
    assert!(spent < Duration::from_secs(2), "{spent:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_or_speaks_something_else_counts_as_away() {
    for greeting in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"] {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", other.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            while let Ok((connection, _)) = other.accept().await {
                connection.writable().await.unwrap();
                let _ = connection.try_write(greeting);
            }
        });
        let gateway = Gateway::start(&url, Duration::from_secs(5), WebhookAuth::Unsigned).await;
        let answer = gateway.post("/api/orders", r#"{"hold_id":123}"#).await;
        refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
        answering.abort();
    }
}

#[tokio::test]
async fn a_request_under_way_is_still_answered_when_the_gateway_stops() {
    let (silent, gateway) = gateway_of_a_silent_server(Duration::from_millis(800)).await;
    let url = gateway.url("/api/products/1");
    let asking = tokio::spawn(gateway.http.get(url).send());
    // The request is under way as soon as it has reached the server.
    let (_connection, _) = silent.accept().await.unwrap();
    let health = gateway.url("/healthz");
    gateway.stop().await;
    let answer = asking.await.unwrap().unwrap();
    refusal(answer, 504, "DEADLINE_EXCEEDED").await;
    assert!(reqwest::get(health).await.is_err());
}

#[tokio::test]
async fn requests_are_measured_by_route_and_status_and_never_by_path() {
    let gateway = GatewayProgram::start("127.0.0.1:1", &[("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", gateway.address);
    for path in ["/api/products/1", "/api/products/77", "/api/products/x", "/api/holds", "/secret/path", "/healthz"] {
        http.get(url(path)).send().await.unwrap();
    }
    http.post(url("/api/holds")).header("content-type", "application/json").body("{").send().await.unwrap();
    http.request("SECRET".parse().unwrap(), url("/healthz")).send().await.unwrap();
    let rendered = gateway.metrics().await;
    let counted = [
        ("GET", "503", r#",http_route="/api/products/{id}""#, 2),
        ("GET", "404", r#",http_route="/api/products/{id}""#, 1),
        ("POST", "400", r#",http_route="/api/holds""#, 1),
        ("GET", "405", r#",http_route="/api/holds""#, 1),
        ("GET", "404", "", 1),
        ("GET", "200", r#",http_route="/healthz""#, 1),
        ("_OTHER", "405", r#",http_route="/healthz""#, 1),
    ];
    for (method, status, route, count) in counted {
        let line = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",\
             http_response_status_code=\"{status}\"{route}}} {count}\n"
        );
        assert!(rendered.contains(&line), "{line}{rendered}");
    }
    gateway.stop().await;
    assert!(!rendered.to_lowercase().contains("secret") && !rendered.contains("/77"), "{rendered}");
}

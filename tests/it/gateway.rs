//! Sends the gateway all kinds of requests: each has a documented answer.
//!
//! The gateway's server is away in these tests, so a correct request ends with 503.

use std::{net::SocketAddr, time::Duration};

use flashsale::{
    access::Access,
    gateway::{Credentials, EventSenders, Readiness, Served, Upstream, WebhookAuth, serve},
    listener::Limits,
    reload::Current,
};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// An address where nobody listens.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";
/// The longest time that a test may wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Runs a gateway on its own port until [`Gateway::stop`] is called or the value is dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Gateway {
    /// Starts a gateway that takes nothing of Stripe's.
    pub(crate) async fn start(server_url: &str, call_time_max: Duration, webhook: WebhookAuth) -> Self {
        let senders = EventSenders { webhook: Some(webhook), stripe: Vec::new() };
        Self::start_with(server_url, call_time_max, true, senders).await
    }

    pub(crate) async fn start_with(
        server_url: &str,
        call_time_max: Duration,
        shop: bool,
        senders: EventSenders,
    ) -> Self {
        let served = Served { shop: shop.then(Access::for_everybody), senders: Current::fixed(senders) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream =
            Upstream::new(&server_url.parse().unwrap(), Current::fixed(Credentials::default()), call_time_max).unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let readiness = Readiness::new(upstream.clone());
        let serving = tokio::spawn(serve(listener, upstream, served, Limits::default(), readiness, shutdown));
        // A redirect or a proxy would hide the gateway's own answer.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(LIMIT)
            .build()
            .unwrap();
        Self { address, http, stop, serving }
    }

    pub(crate) async fn without_server() -> Self {
        Self::start(NOBODY, Duration::from_secs(5), WebhookAuth::Unsigned).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.http.post(self.url(path)).body(body);
        let request = request.header("content-type", "application/json");
        request.send().await.unwrap()
    }

    /// Sends bytes as they are, and returns all that comes back until the connection is closed.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        // With a small buffer, a long request is still being sent when an early answer comes.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let mut connection = socket.connect(self.address).await.unwrap();
        let mut answer = Vec::new();
        timeout(LIMIT, async {
            connection.write_all(request).await.unwrap();
            connection.read_to_end(&mut answer).await.unwrap();
        })
        .await
        .expect("the gateway must answer and close");
        String::from_utf8(answer).unwrap()
    }

    /// Begins the shutdown and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(LIMIT, self.serving).await.unwrap().unwrap().unwrap();
    }
}

/// Checks a refusal's status, reason and shape, and returns its body.
pub(crate) async fn refusal(response: Response, status: u16, reason: &str) -> Value {
    let what = format!("{} {:?}", response.url(), response.headers());
    assert_eq!(response.status().as_u16(), status, "{what}");
    assert_eq!(response.headers()["content-type"], "application/json", "{what}");
    assert_eq!(response.headers()["cache-control"], "no-store", "{what}");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["reason"], reason, "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty(), "{body}");
    body
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_a_route_not_found() {
    let gateway = Gateway::without_server().await;
    let paths = [
        "/",
        "/api",
        "/api/products",
        "/api/products/",
        "/api/products/1/",
        "/api/products/1/2",
        "/api/holds/",
        "/api/holds/1",
        "/API/HOLDS",
        "/api//holds",
        "/api/holds%2F",
        "/api/payments",
        "/api/payments/stripe",
        "/%00",
        "/%ff",
        "/healthz/",
        "/metrics",
        "/api/holds/../../etc/passwd%00",
    ];
    for path in paths {
        refusal(gateway.get(path).await, 404, "ROUTE_NOT_FOUND").await;
        refusal(gateway.post(path, "{}").await, 404, "ROUTE_NOT_FOUND").await;
    }
}

#[tokio::test]
async fn an_id_that_can_be_no_products_is_not_found() {
    let gateway = Gateway::without_server().await;
    let ids = [
        ("0", "0"),
        ("-1", "-1"),
        ("+1", "+1"),
        ("1.0", "1.0"),
        ("x", "x"),
        ("%31x", "1x"),
        ("1%2F2", "1/2"),
        ("%D9%A1", "١"),
        ("%22%3Cb%3E", "\"<b>"),
        ("9223372036854775808", "9223372036854775808"),
        ("%ff%fe", ""),
    ];
    for (path, id) in ids {
        let answer = gateway.get(&format!("/api/products/{path}")).await;
        let body = refusal(answer, 404, "PRODUCT_NOT_FOUND").await;
        assert_eq!(body["details"]["productId"], id, "{path}");
        assert!(body.get("errors").is_none(), "{body}");
    }
    // These are valid ids, so the gateway asks the server for them.
    for path in ["1", "%31", "9223372036854775807"] {
        let answer = gateway.get(&format!("/api/products/{path}?q=%ff")).await;
        refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_which_is_right() {
    let gateway = Gateway::without_server().await;
    let routes = [
        ("/api/products/1", "GET,HEAD"),
        ("/api/products/x", "GET,HEAD"),
        ("/healthz", "GET,HEAD"),
        ("/readyz", "GET,HEAD"),
        ("/api/holds", "POST"),
        ("/api/orders", "POST"),
        ("/api/payments/webhook", "POST"),
    ];
    for (path, allowed) in routes {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            if allowed.split(',').any(|allowed| allowed == method) {
                continue;
            }
            let known = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = gateway.http.request(known, gateway.url(path)).send().await.unwrap();
            assert_eq!(answer.headers()["allow"], allowed, "{method} {path}");
            if method == "HEAD" {
                assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
                assert_eq!(answer.text().await.unwrap(), "");
            } else {
                refusal(answer, 405, "METHOD_NOT_ALLOWED").await;
            }
        }
    }
}

#[tokio::test]
async fn a_head_is_answered_like_a_get_without_the_body() {
    let gateway = Gateway::without_server().await;
    for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/api/products/x", 404), ("/x", 404)] {
        let answer = gateway.http.head(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn a_post_must_declare_json_be_json_and_be_an_object() {
    let gateway = Gateway::without_server().await;
    for path in ["/api/holds", "/api/orders", "/api/payments/webhook"] {
        let undeclared = gateway.http.post(gateway.url(path)).body("{}");
        let answer = undeclared.send().await.unwrap();
        refusal(answer, 415, "UNSUPPORTED_MEDIA_TYPE").await;
        let form = gateway.http.post(gateway.url(path)).body("a=b");
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        refusal(form.send().await.unwrap(), 415, "UNSUPPORTED_MEDIA_TYPE").await;

        for body in [&b""[..], b"{", b"nul", b"{}{}", b"\xff\xfe", b"\xef\xbb\xbf{}", &[0; 100]] {
            refusal(gateway.post(path, body).await, 400, "BAD_JSON").await;
        }
        for body in ["null", "[]", "5", "\"{}\"", "1e400"] {
            let refused = refusal(gateway.post(path, body).await, 422, "INVALID_ARGUMENT").await;
            assert!(refused.get("errors").is_none(), "{refused}");
        }
    }
}

#[tokio::test]
async fn every_bad_field_is_named_in_one_answer() {
    let gateway = Gateway::without_server().await;
    let hold = gateway.http.post(gateway.url("/api/holds"));
    let hold = hold.header("idempotency-key", b"\xff".as_slice());
    let hold = hold.json(&json!({"product_id": "1", "qty": 5.0, "buyer_id": 7}));
    let body = refusal(hold.send().await.unwrap(), 422, "INVALID_ARGUMENT").await;
    assert_eq!(
        body["errors"],
        json!({
            "product_id": ["must be an integer of 64 bits"],
            "qty": ["must be an integer of 32 bits"],
            "buyer_id": ["must be a string"],
            "Idempotency-Key": ["must be given once, in ASCII"],
        })
    );
    let body = refusal(gateway.post("/api/orders", "{}").await, 422, "INVALID_ARGUMENT").await;
    assert_eq!(body["errors"], json!({"hold_id": ["is required"]}));
    assert_eq!(body["message"], "hold_id is required");
    let event = r#"{"idempotency_key":7,"order_id":"456","status":"paid","amount_cents":1.5}"#;
    let answer = gateway.post("/api/payments/webhook", event).await;
    let body = refusal(answer, 422, "INVALID_ARGUMENT").await;
    assert_eq!(
        body["errors"],
        json!({
            "idempotency_key": ["must be a string"],
            "order_id": ["must be an integer of 64 bits"],
            "status": ["must be \"success\", \"failure\" or \"attempt_failed\""],
            "amount_cents": ["must be an integer of 64 bits"],
        })
    );
}

#[tokio::test]
async fn a_body_has_64_kib_at_the_most_announced_or_not() {
    let gateway = Gateway::without_server().await;
    let padded = |bytes: usize| {
        let body = r#"{"hold_id":1}"#;
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    for path in ["/api/holds", "/api/orders", "/api/payments/webhook"] {
        for bytes in [64 * 1024 + 1, 100_000, 1_000_000] {
            refusal(gateway.post(path, padded(bytes)).await, 413, "TOO_LARGE").await;
        }
    }
    let largest = gateway.post("/api/orders", padded(64 * 1024)).await;
    refusal(largest, 503, "DATABASE_UNAVAILABLE").await;

    let mut chunked = String::from(
        "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for _ in 0..100 {
        chunked.push_str(&format!("400\r\n{}\r\n", " ".repeat(1024)));
    }
    chunked.push_str("0\r\n\r\n");
    let answer = gateway.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("TOO_LARGE"), "{answer}");

    // A client that sends everything before it reads isn't cut off while it sends.
    let body = " ".repeat(1_000_000);
    for (path, status) in [("/api/orders", "413"), ("/healthz", "405"), ("/nowhere", "404")] {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        let answer = gateway.raw(request.as_bytes()).await;
        assert_eq!(answer.get(9..12), Some(status), "{path}: {answer}");
    }

    // A client that asks for leave to send is refused before it sends anything.
    let waiting = "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                   Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n";
    let answer = gateway.raw(waiting.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn what_is_hardly_http_is_no_internal_error_and_harms_nobody() {
    let gateway = Gateway::without_server().await;
    let (long, too_long) = ("x".repeat(15_000), "x".repeat(17_000));
    let many: String = (0..300).map(|number| format!("h{number}: x\r\n")).collect();
    let tail = "Host: x\r\nConnection: close\r\n\r\n";
    let post = "POST /api/orders HTTP/1.1\r\nContent-Type: application/json";
    let requests = [
        ("404", format!("GET http://x/x HTTP/1.1\r\n{tail}")),
        ("400", format!("GET http://elsewhere/x HTTP/1.1\r\n{tail}")),
        ("404", format!("GET * HTTP/1.1\r\n{tail}")),
        ("400", format!("CONNECT elsewhere:443 HTTP/1.1\r\n{tail}")),
        ("404", format!("GET /{long} HTTP/1.1\r\n{tail}")),
        ("404", format!("GET /api/products/{long} HTTP/1.1\r\n{tail}")),
        ("431", format!("GET /{too_long} HTTP/1.1\r\n{tail}")),
        ("431", format!("GET /api/products/1 HTTP/1.1\r\nx-long: {too_long}\r\n{tail}")),
        ("503", format!("GET /api/products/1 HTTP/1.1\r\nx-long: {long}\r\n{tail}")),
        ("503", format!("GET /api/products/1 HTTP/1.1\r\ntraceparent: \u{fc}\r\n{tail}")),
        ("503", format!("GET /api/products/1 HTTP/1.1\r\ntracestate: {long}\r\n{tail}")),
        ("503", format!("GET /api/products/1 HTTP/1.1\r\ngrpc-timeout: x\r\n{tail}")),
        ("431", format!("GET /healthz HTTP/1.1\r\n{many}{tail}")),
        ("200", "GET /healthz HTTP/1.0\r\n\r\n".to_owned()),
        ("400", format!("GET /healthz HTTP/9.9\r\n{tail}")),
        ("400", format!("GET /a b HTTP/1.1\r\n{tail}")),
        ("400", "\u{0}\u{1}\u{2}\r\n\r\n".to_owned()),
        ("400", format!("{post}\r\nContent-Length: x\r\n{tail}{{}}")),
        ("400", format!("{post}\r\nTransfer-Encoding: chunked\r\n{tail}zz\r\n{{}}\r\n0\r\n\r\n")),
        ("422", format!("{post}\r\nTransfer-Encoding: chunked\r\n{tail}2\r\n{{}}\r\n0\r\nt: x\r\n\r\n")),
    ];
    for (status, request) in requests {
        let answer = gateway.raw(request.as_bytes()).await;
        let start = &request[..request.len().min(60)];
        assert!(answer.starts_with("HTTP/1."), "{start}: {answer}");
        assert_eq!(answer.get(9..12), Some(status), "{start}: {answer}");
    }
    assert_eq!(gateway.get("/healthz").await.status(), StatusCode::OK);
}

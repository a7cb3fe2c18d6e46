//! Plays a server that knows one token, and refuses all others.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use flashsale::pb::{GetProductResponse, Product};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::bytes::Bytes;

use super::{UNSIGNED, folder, get};
use crate::support::{authority::written, process::Process, programs::GatewayProgram, signal};

const LIMIT: Duration = Duration::from_secs(60);
const UNAUTHENTICATED: &str = "16";
const PERMISSION_DENIED: &str = "7";

/// Answers GetProduct for one token. Whoever shows another, or none, gets the code.
struct Doorkeeper {
    address: String,
    shown: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

impl Doorkeeper {
    async fn start(token: &'static str, code: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shown) = (listener.local_addr().unwrap().to_string(), Arc::<Mutex<Vec<_>>>::default());
        let seen = Arc::clone(&shown);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, token, code, Arc::clone(&seen)));
            }
        });
        Self { address, shown, listening }
    }
}

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(stream: TcpStream, token: &str, code: &'static str, seen: Arc<Mutex<Vec<String>>>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let mut response = Response::new(());
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        if authorization(&request) != format!("Bearer {token}") {
            seen.lock().unwrap().push(authorization(&request));
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
            respond.send_response(response, true).unwrap();
            continue;
        }
        let product = Product { product_id: 1, name: "Shoe".to_owned(), ..Default::default() };
        let message = GetProductResponse { product: Some(product) }.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data(Bytes::from([&[0], &length[..], &message].concat()), false).unwrap();
        body.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]))
            .unwrap();
    }
}

fn authorization(request: &Request<h2::RecvStream>) -> String {
    request.headers().get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned()
}

/// Returns the error that names the settings. There is one, however many calls were refused.
fn named(process: &Process) -> Value {
    let lines = process.lines_of("The server refuses this gateway");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "ERROR");
    lines[0]["error"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_refuses_the_gateway_its_callers_are_not_blamed_and_the_log_names_the_settings() {
    for (code, expected) in [
        (UNAUTHENTICATED, &["FLASHSALE_SERVER_TOKEN", "FLASHSALE_SERVER_CERT", "FLASHSALE_PRINCIPALS_FILE"][..]),
        (PERMISSION_DENIED, &["roles", "FLASHSALE_PRINCIPALS_FILE"]),
    ] {
        let server = Doorkeeper::start("right", code).await;
        let gateway = GatewayProgram::start(&server.address, &[UNSIGNED, ("FLASHSALE_SERVER_TOKEN", "wrong")]).await;
        for _ in 0..5 {
            let (status, body) = get(&gateway, "/api/products/1").await;
            assert_eq!((status, &body["reason"]), (503, &"DATABASE_UNAVAILABLE".into()), "{body}");
            assert!(!body.to_string().contains("refuses"), "{body}");
        }
        let error = named(&gateway.process);
        for text in expected {
            assert!(error.as_str().unwrap().contains(text), "{error}");
        }
        let log = gateway.stop().await;
        assert!(!log.iter().any(|line| line.to_string().contains("wrong")), "{log:?}");
        assert_eq!(*server.shown.lock().unwrap(), ["Bearer wrong"; 5]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_the_server_did_not_take_from_the_gateway_comes_again_and_is_in_the_log() {
    let server = Doorkeeper::start("right", UNAUTHENTICATED).await;
    let gateway = GatewayProgram::start(&server.address, &[UNSIGNED]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let event = r#"{"idempotency_key":"webhook-key-123","order_id":456,"status":"success"}"#;
    let request = http.post(format!("http://{}/api/payments/webhook", gateway.address)).body(event);
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &HeaderValue::from_static("1")));
    let line = gateway.process.wait_for_line("Payment webhook failed", LIMIT).await;
    assert_eq!((&line["idempotency_key"], &line["order_id"]), (&"webhook-key-123".into(), &456.into()));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_from_its_file_and_read_anew() {
    let folder = folder();
    let server = Doorkeeper::start("second", UNAUTHENTICATED).await;
    let file = written(folder.path(), "token", "first\n");
    let settings = [UNSIGNED, ("FLASHSALE_SERVER_TOKEN_FILE", &*file)];
    let gateway = GatewayProgram::start(&server.address, &settings).await;
    assert_eq!(get(&gateway, "/api/products/1").await.0, 503);
    fs::write(&file, "second\n").unwrap();
    signal::send(gateway.process.pid(), "HUP");
    gateway.process.wait_for_line("Credentials read anew", LIMIT).await;
    let (status, body) = get(&gateway, "/api/products/1").await;
    assert_eq!((status, &body["name"]), (200, &"Shoe".into()), "{body}");
    gateway.stop().await;
}

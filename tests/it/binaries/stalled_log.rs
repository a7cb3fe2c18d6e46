//! Runs programs whose log nobody reads: standard output and standard error are one full pipe, as with `2>&1`.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use flashsale::pb::{CreateHoldRequest, CreateHoldResponse, PaymentStatus};

use crate::support::{
    client::{Clients, assert_refused},
    database::TestDatabase,
    process::Process,
    programs::{GatewayProgram, STOP_LIMIT, ServerProgram},
    sale::hold,
    wait,
    wire::Wire,
};

const LIMIT: Duration = Duration::from_secs(60);
const DROPPED: &str = "Log lines were dropped: nobody read them";
const COUNTER: &str = "flashsale_log_lines_dropped_total";
const TRACED: (&str, &str) = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

/// Fails the test unless the program answers in the time of one that doesn't wait for the reader of its log.
async fn in_time<T>(answers: impl Future<Output = T>) -> T {
    timeout(LIMIT, answers).await.expect("the log holds up the answers")
}

/// Returns how many lines were dropped, by the page of metrics.
fn dropped(page: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(COUNTER)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {COUNTER} in\n{page}")).parse().unwrap()
}

/// Waits until the log says that this many lines were dropped, and returns all lines.
async fn all_told(process: &Process, missing: u64) -> Vec<Value> {
    wait::eventually(LIMIT, "the line that says how many are missing", async || {
        let told = process.lines_of(DROPPED).iter().map(|line| line["dropped"].as_u64().unwrap()).sum::<u64>();
        assert!(told <= missing, "{told} of {missing}");
        told == missing
    })
    .await;
    let told = process.lines_of(DROPPED);
    assert!(told.iter().all(|line| line["level"] == "WARN"), "{told:?}");
    process.lines()
}

fn with_message(lines: &[Value], message: &str) -> u64 {
    lines.iter().filter(|line| line["message"] == message).count().try_into().unwrap()
}

/// Sends payment events that are refused with long log lines: an unknown order, and a key that is escaped.
async fn refused_events(clients: &Clients, count: u64) {
    let key = "\u{1}".repeat(255);
    let refused = (0..count).map(|_| clients.pay(&key, 999, PaymentStatus::Success));
    for refused in in_time(join_all(refused)).await {
        assert_refused(refused, Code::NotFound, "ORDER_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_log_nobody_reads_goes_on_says_what_is_missing_and_ends_in_time() {
    let database = TestDatabase::create("stalled_log").await;
    // A span is sent in vain at the end, and what is said about it can't be written anywhere.
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ];
    let mut server = ServerProgram::start_on_one_pipe(&database.url(), &settings).await;
    let clients = &server.clients;
    let product_id = clients.create_product("Shoe", 1000, 1_000_000).await.product_id;
    assert_eq!(dropped(&server.metrics().await), 0);

    server.process.stop_reading();
    let mut events = 0;
    while dropped(&server.metrics().await) == 0 {
        refused_events(clients, 500).await;
        events += 500;
    }
    let (mut holds, started) = (Vec::new(), Instant::now());
    for _ in 0..100 {
        holds.push(clients.hold(product_id, 1).await.unwrap().hold_id);
    }
    let each = started.elapsed() / 100;
    assert!(each < Duration::from_millis(100), "{each:?} a hold");
    assert_eq!(clients.health("liveness").await.unwrap(), ServingStatus::Serving);
    let missing = dropped(&server.metrics().await);
    assert!(missing >= 100, "{missing}");

    server.process.read_on();
    let lines = all_told(&server.process, missing).await;
    assert_eq!(
        with_message(&lines, "Payment webhook refused") + with_message(&lines, "Hold created") + missing,
        events + 100
    );
    let after = clients.hold(product_id, 1).await.unwrap().hold_id;
    server.process.wait_for("the hold after", LIMIT, |line| line["hold_id"] == after).await;
    assert_eq!(dropped(&server.metrics().await), missing);

    server.process.stop_reading();
    let traced = Wire::connect(&server.address).await;
    let path = "flashsale.v1.FlashSaleService/CreateHold";
    let request: CreateHoldRequest = hold(product_id, 1);
    traced.call::<CreateHoldResponse>(path, &[TRACED], &request).await.unwrap();
    refused_events(clients, 200).await;
    drop(traced);
    server.process.terminate();
    drop(server.clients);
    assert_eq!(server.process.wait_exit_unread(STOP_LIMIT).await, 0);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// Sends events without a field on one connection, without waiting for the answers.
async fn unsigned_posts(address: &str, count: usize) {
    let (name, value) = TRACED;
    let post = format!(
        "POST /api/payments/webhook HTTP/1.1\r\nhost: x\r\n{name}: {value}\r\ncontent-type: application/json\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut answers, mut posts) = stream.split();
    let posts = async { posts.write_all(post.repeat(count).as_bytes()).await.unwrap() };
    let answers = async {
        let (mut refused, mut bytes, mut read) = (0, vec![0; 64 * 1024], Vec::new());
        while refused < count {
            let some = answers.read(&mut bytes).await.unwrap();
            assert!(some > 0, "closed after {refused} answers");
            read.extend_from_slice(&bytes[..some]);
            let status = b"HTTP/1.1 422";
            refused += read.windows(status.len()).filter(|window| window == status).count();
            read.drain(..(read.len() + 1).saturating_sub(status.len()));
        }
    };
    in_time(async { tokio::join!(posts, answers) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_log_nobody_reads_goes_on_says_what_is_missing_and_ends_in_time() {
    // With a secret, the gateway would leave most of the lines out by itself.
    let settings = [("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")];
    let mut gateway = GatewayProgram::start_on_one_pipe("127.0.0.1:1", &settings).await;
    assert_eq!(dropped(&gateway.metrics().await), 0);
    let healthz = async || {
        let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
        client.get(format!("http://{}/healthz", gateway.address)).send().await.unwrap().status().as_u16()
    };

    gateway.process.stop_reading();
    let mut posts = 0;
    while dropped(&gateway.metrics().await) == 0 {
        tokio::join!(unsigned_posts(&gateway.address, 1000), unsigned_posts(&gateway.address, 1000));
        posts += 2000;
    }
    let started = Instant::now();
    unsigned_posts(&gateway.address, 100).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(healthz().await, 200);
    let missing = dropped(&gateway.metrics().await);
    assert!(missing >= 100, "{missing}");

    gateway.process.read_on();
    let lines = all_told(&gateway.process, missing).await;
    assert_eq!(with_message(&lines, "Payment webhook refused") + missing, posts + 100);

    gateway.process.stop_reading();
    unsigned_posts(&gateway.address, 500).await;
    gateway.process.terminate();
    assert_eq!(gateway.process.wait_exit_unread(STOP_LIMIT).await, 0);
}

//! What a program does between the signal to stop and its end.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    client::Clients,
    database::TestDatabase,
    process::Process,
    programs::{GatewayProgram, STOP_LIMIT, ServerProgram},
    signal, wait,
};

const LIMIT: Duration = Duration::from_secs(60);
const DRAIN_DELAY: (&str, &str) = ("FLASHSALE_DRAIN_DELAY", "3s");
const UNSIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");

/// Asks a probe, and returns the status.
async fn probe(address: &str, path: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("http://{address}{path}")).send().await.unwrap().status().as_u16()
}

async fn wait_until_ready(address: &str) {
    wait::eventually(LIMIT, "/readyz", async || probe(address, "/readyz").await == 200).await;
}

/// Tells the program to stop, and returns when it was told.
async fn tell_to_stop(process: &Process) -> Instant {
    let told = Instant::now();
    process.terminate();
    process.wait_for_line("Shutting down", LIMIT).await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_serving_for_the_drain_delay_and_says_that_it_is_not_ready() {
    let database = TestDatabase::create("drain_delay").await;
    let mut server = ServerProgram::start(&database.url(), &[DRAIN_DELAY]).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let probes = server.metrics_address().to_owned();
    wait_until_ready(&probes).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;

    let told = tell_to_stop(&server.process).await;
    assert_eq!(server.clients.health("").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(server.clients.health("liveness").await.unwrap(), ServingStatus::Serving);
    assert_eq!((probe(&probes, "/readyz").await, probe(&probes, "/healthz").await), (503, 200));
    server.clients.hold(product_id, 1).await.unwrap();
    // New connections are taken, too.
    let new = Clients::connect(&server.address).await;
    new.hold(product_id, 1).await.unwrap();
    assert!(told.elapsed() < Duration::from_secs(3), "the machine is too slow for this test: {:?}", told.elapsed());

    assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() >= Duration::from_secs(3), "{:?}", told.elapsed());
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM holds").await, 2);
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_goes_on_serving_for_the_drain_delay_and_says_that_it_is_not_ready() {
    let database = TestDatabase::create("drain_delay_gateway").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let mut gateway = GatewayProgram::start(&server.address, &[DRAIN_DELAY, UNSIGNED]).await;
    let probes = gateway.metrics_address().to_owned();
    wait_until_ready(&probes).await;
    wait_until_ready(&gateway.address).await;

    let told = tell_to_stop(&gateway.process).await;
    for address in [&probes, &gateway.address] {
        assert_eq!((probe(address, "/readyz").await, probe(address, "/healthz").await), (503, 200), "{address}");
    }
    assert_eq!(probe(&gateway.address, &format!("/api/products/{product_id}")).await, 200);
    assert!(told.elapsed() < Duration::from_secs(3), "the machine is too slow for this test: {:?}", told.elapsed());

    assert_eq!(gateway.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() >= Duration::from_secs(3), "{:?}", told.elapsed());
    server.stop().await;
}

/// A gateway is ready while its server is, and its own `/readyz` says the same as that of its metrics address.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_server_is_not_ready_at_its_metrics_address_either() {
    let gateway = GatewayProgram::start("127.0.0.1:1", &[UNSIGNED]).await;
    assert_eq!(probe(gateway.metrics_address(), "/readyz").await, 503);
    assert_eq!(probe(&gateway.address, "/readyz").await, 503);
    assert_eq!(probe(gateway.metrics_address(), "/healthz").await, 200);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_program_at_once() {
    let database = TestDatabase::create("second_signal").await;
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = ServerProgram::start(&database.url(), &[]).await;
        let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
        let mut holder = database.lock_rows(&format!("products WHERE id = {product_id}")).await;
        let clients = server.clients.clone();
        let in_flight = tokio::spawn(async move { clients.hold(product_id, 2).await });
        database.wait_for_waiter().await;
        let told = tell_to_stop(&server.process).await;
        signal::send(server.process.pid(), second);
        assert_eq!(server.process.wait_exit(STOP_LIMIT).await, code);
        assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
        assert!(in_flight.await.unwrap().is_err());
        holder.execute("ROLLBACK").await;

        let mut gateway = GatewayProgram::start("127.0.0.1:1", &[UNSIGNED]).await;
        let mut half_sent = TcpStream::connect(&gateway.address).await.unwrap();
        half_sent.write_all(b"POST /api/holds HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
        assert_eq!(probe(&gateway.address, "/healthz").await, 200);
        let told = tell_to_stop(&gateway.process).await;
        signal::send(gateway.process.pid(), second);
        assert_eq!(gateway.process.wait_exit(STOP_LIMIT).await, code);
        assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
        assert_eq!(half_sent.read(&mut [0; 100]).await.unwrap_or(0), 0);
    }
    wait::eventually(LIMIT, "the end of the transactions", async || database.open_transactions().await == 0).await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// The second signal comes while the program waits for a collector that never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_is_obeyed_after_the_last_call_as_well() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let database = TestDatabase::create("second_signal_late").await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let mut server = ServerProgram::start(&database.url(), &settings).await;
    server.clients.create_product("Shoe", 1000, 10).await;
    tell_to_stop(&server.process).await;
    server.process.wait_for_line("Stopped", LIMIT).await;
    signal::send(server.process.pid(), "TERM");
    assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 143);
}

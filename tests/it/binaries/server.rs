//! Checks how `server` and `gateway` start and end, and `server migrate`.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::support::{
    client::{Clients, assert_refused},
    database::TestDatabase,
    mysqld::free_port,
    process::{Process, Program},
    programs::{GatewayProgram, STOP_LIMIT, ServerProgram, lines_of, migrate},
    signal, wait,
};

const LIMIT: Duration = Duration::from_secs(60);
/// The URL of a database at an address where no server listens, and its password.
const NOWHERE: &str = "mysql://flashsale:pa55word@127.0.0.1:1/it_nowhere";

#[tokio::test(flavor = "multi_thread")]
async fn migrate_and_seed_may_be_run_by_two_at_once_and_again() {
    let database = TestDatabase::create_empty("seed").await;
    let url = database.url();
    let (one, other) = tokio::join!(migrate(&url, &["--seed"]), migrate(&url, &["--seed"]));
    let again = migrate(&url, &["--seed"]).await;
    let without_seed = migrate(&url, &[]).await;
    // The INSERT that comes second has taken an id, too, and may have taken the first one.
    let product_id = database.query_i64("SELECT id FROM products").await;
    for (code, lines) in [&one, &other, &again] {
        assert_eq!(*code, 0);
        assert_eq!(lines_of(lines, "Database is up to date").len(), 1);
        assert_eq!(lines_of(lines, "Sample product is on sale")[0]["product_id"], product_id);
    }
    assert_eq!(without_seed.0, 0);
    assert_eq!(lines_of(&again.1, "Database is up to date")[0]["migrations"], 0);
    let products = "SELECT name, price_cents, total_stock, available_stock FROM products";
    assert_eq!(database.query_rows(products).await, [["Flash Sale Item", "1000", "100", "100"]]);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_product_that_was_sold_is_not_refilled() {
    let database = TestDatabase::create_empty("seed_sold").await;
    assert_eq!(migrate(&database.url(), &["--seed"]).await.0, 0);
    let server = ServerProgram::start(&database.url(), &[]).await;
    server.clients.hold(1, 60).await.unwrap();
    server.stop().await;
    assert_eq!(migrate(&database.url(), &["--seed"]).await.0, 0);
    assert_eq!(database.query_i64("SELECT available_stock FROM products").await, 40);
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test]
async fn migrate_without_a_database_fails_and_says_why() {
    let database = TestDatabase::create_empty("wrong_password").await;
    let wrong_password = database.url().replace("p%40ss", "pa55word");
    let no_such_database = database.url().replace(database.name(), "it_not_there");
    for url in [NOWHERE, &wrong_password, &no_such_database] {
        let (code, lines) = migrate(url, &["--seed"]).await;
        assert_eq!(code, 1, "{url}");
        let last = lines.last().unwrap();
        assert_eq!((&last["message"], &last["level"]), (&"The server failed".into(), &"ERROR".into()));
        let error = last["error"].as_str().unwrap();
        assert!(error.starts_with("unavailable: "), "{error}");
        assert!(!lines.iter().any(|line| line.to_string().contains("pa55word")), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_database_starts_says_why_it_does_not_serve_and_ends_in_order() {
    let server = ServerProgram::start(NOWHERE, &[]).await;
    let line = server.process.wait_for_line("Not serving", LIMIT).await;
    assert_eq!(line["reason"], "the database can't be reached");
    server.clients.wait_for_health(ServingStatus::NotServing).await;
    assert_refused(server.clients.hold(1, 1).await, Code::Unavailable, "DATABASE_UNAVAILABLE");
    let lines = server.stop().await;
    assert!(!lines.iter().any(|line| line.to_string().contains("pa55word")), "{lines:?}");
    assert_eq!(lines.last().unwrap()["message"], "Stopped");
}

#[tokio::test]
async fn a_bad_database_url_ends_every_program_with_code_2_and_without_its_password() {
    for url in [
        "postgres://u:pa55word@127.0.0.1/x",
        "pa55word",
        "mysql://u:pa55word@127.0.0.1",
        "",
        "mysql://u:pa55word@127.0.0.1/x?require_sl=true",
        "mysql://u@127.0.0.1/x?pa55word",
        "mysql://u@127.0.0.1/x?require_ssl=pa55word",
    ] {
        for (program, arguments) in
            [(Program::Server, &[][..]), (Program::Server, &["migrate"]), (Program::Sweeper, &[])]
        {
            let mut process = Process::spawn(program, arguments, &[("DATABASE_URL", url)]);
            assert_eq!(process.wait_exit(LIMIT).await, 2, "{program:?} {url:?}");
            let said = process.stderr();
            assert!(said.contains("DATABASE_URL") && !said.contains("pa55word"), "{program:?} {url:?}: {said}");
        }
    }
}

#[tokio::test]
async fn an_address_in_use_ends_the_program_with_code_1_and_its_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let free = format!("127.0.0.1:{}", free_port());
    for (program, listen, metrics) in [
        (Program::Server, "FLASHSALE_LISTEN", "FLASHSALE_METRICS_LISTEN"),
        (Program::Server, "FLASHSALE_METRICS_LISTEN", "FLASHSALE_LISTEN"),
        (Program::Gateway, "FLASHSALE_GATEWAY_LISTEN", "FLASHSALE_METRICS_LISTEN"),
        (Program::Gateway, "FLASHSALE_METRICS_LISTEN", "FLASHSALE_GATEWAY_LISTEN"),
    ] {
        let settings = [
            ("DATABASE_URL", NOWHERE),
            ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true"),
            (listen, &taken),
            (metrics, &free),
        ];
        let mut process = Process::spawn(program, &[], &settings);
        assert_eq!(process.wait_exit(LIMIT).await, 1, "{program:?} {listen}");
        let last = process.lines().pop().unwrap();
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["error"].as_str().unwrap().contains("in use"), "{program:?} {listen}: {last}");
    }
}

/// One call waits for a row, one connection sends nothing, and one watches health.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_told_to_stop_answers_what_is_in_flight_and_ends_within_25_seconds() {
    let database = TestDatabase::create("sigterm").await;
    let mut server = ServerProgram::start(&database.url(), &[]).await;
    let clients = server.clients.clone();
    clients.wait_for_health(ServingStatus::Serving).await;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let request = HealthCheckRequest { service: "flashsale.v1.FlashSaleService".to_owned() };
    let mut watch = clients.health.clone().watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut silent = TcpStream::connect(&server.address).await.unwrap();

    let mut holder = database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let in_flight = tokio::spawn(async move { clients.hold(product_id, 2).await });
    database.wait_for_waiter().await;

    let told = Instant::now();
    server.process.terminate();
    server.process.wait_for_line("Shutting down", LIMIT).await;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    wait::eventually(LIMIT, "the end of the listener", async || TcpStream::connect(&server.address).await.is_err())
        .await;
    holder.execute("ROLLBACK").await;
    let hold = in_flight.await.unwrap().unwrap();
    assert_eq!(database.query_i64("SELECT id FROM holds").await, hold.hold_id);

    assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() < STOP_LIMIT, "{:?}", told.elapsed());
    // The connection gets the server's settings and a goodbye, and is closed at the end.
    let mut told_to_the_silent = Vec::new();
    let _reset = silent.read_to_end(&mut told_to_the_silent).await;
    let created = server.process.lines_of("Hold created");
    assert_eq!(created[0]["hold_id"], hold.hold_id);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_nothing_to_do_ends_at_once() {
    let database = TestDatabase::create("sigterm_idle").await;
    for signal in ["TERM", "INT"] {
        let mut server = ServerProgram::start(&database.url(), &[]).await;
        server.clients.create_product("Shoe", 1000, 10).await;
        // This connection stays open: the server says goodbye on it, and the client closes it.
        let told = Instant::now();
        signal::send(server.process.pid(), signal);
        assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 0);
        assert!(told.elapsed() < Duration::from_secs(5), "{signal}: {:?}", told.elapsed());
    }
    wait::eventually(LIMIT, "the end of the connections", async || database.connection_ids().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_told_to_stop_answers_what_is_in_flight_and_ends() {
    let database = TestDatabase::create("sigterm_gateway").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let mut gateway = GatewayProgram::start(&server.address, &[("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")]).await;
    let mut holder = database.lock_rows(&format!("products WHERE id = {product_id}")).await;

    let mut silent = TcpStream::connect(&gateway.address).await.unwrap();
    let mut asking = TcpStream::connect(&gateway.address).await.unwrap();
    let body = format!(r#"{{"product_id":{product_id},"qty":2}}"#);
    let request = format!(
        "POST /api/holds HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    asking.write_all(request.as_bytes()).await.unwrap();
    database.wait_for_waiter().await;
    let told = Instant::now();
    gateway.process.terminate();
    gateway.process.wait_for_line("Shutting down", LIMIT).await;
    wait::eventually(LIMIT, "the end of the listener", async || TcpStream::connect(&gateway.address).await.is_err())
        .await;
    holder.execute("ROLLBACK").await;
    let mut answer = String::new();
    asking.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    assert_eq!(gateway.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() < STOP_LIMIT, "{:?}", told.elapsed());
    assert_eq!(silent.read(&mut [0; 100]).await.unwrap_or(0), 0);
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// All that delays a gateway's end is here: the longest drain delay, a request of which only half of the head arrives, and
/// a silent collector of traces.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_told_to_stop_ends_within_25_seconds_whatever_holds_it_up() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let settings = [
        ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("FLASHSALE_DRAIN_DELAY", "4s"),
    ];
    let mut gateway = GatewayProgram::start("127.0.0.1:1", &settings).await;
    let mut half_sent = TcpStream::connect(&gateway.address).await.unwrap();
    half_sent.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    // This request has a span to send, and its answer shows that the connection before it was accepted.
    assert_eq!(http.get(format!("http://{}/healthz", gateway.address)).send().await.unwrap().status(), 200);

    let told = Instant::now();
    gateway.process.terminate();
    assert_eq!(gateway.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() < STOP_LIMIT, "{:?}", told.elapsed());
    assert_eq!(half_sent.read(&mut [0; 100]).await.unwrap_or(0), 0);
}

/// All that delays a server's end is here: the longest drain delay, a silent connection, a call that waits for a row, and
/// a silent collector of traces.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_told_to_stop_ends_within_25_seconds_whatever_holds_it_up() {
    let database = TestDatabase::create("sigterm_held_up").await;
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("FLASHSALE_DRAIN_DELAY", "4s")];
    let mut server = ServerProgram::start(&database.url(), &settings).await;
    let clients = server.clients.clone();
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let _silent = TcpStream::connect(&server.address).await.unwrap();
    let mut holder = database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let in_flight = tokio::spawn(async move { clients.hold(product_id, 2).await });
    database.wait_for_waiter().await;

    let told = Instant::now();
    server.process.terminate();
    assert_refused(in_flight.await.unwrap(), Code::Unavailable, "LOCK_CONTENTION");
    assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() < STOP_LIMIT, "{:?}", told.elapsed());
    holder.execute("ROLLBACK").await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}

/// A kill in the middle of a call rolls its transaction back, and another server goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_leaves_nothing_half_done() {
    let database = TestDatabase::create("sigkill").await;
    let mut first = ServerProgram::start(&database.url(), &[]).await;
    let second = ServerProgram::start(&database.url(), &[]).await;
    let product_id = first.clients.create_product("Shoe", 1000, 1000).await.product_id;
    let mut buyers = Vec::new();
    for number in 0..4 {
        let clients = Clients::connect(&first.address).await;
        buyers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            while let Ok(hold) = clients.hold(product_id, number + 1).await {
                acknowledged.push(hold.hold_id);
            }
            acknowledged
        }));
    }
    wait::eventually(LIMIT, "some holds", async || database.query_i64("SELECT COUNT(*) FROM holds").await > 20).await;
    first.process.kill();
    for buyer in buyers {
        for hold_id in buyer.await.unwrap() {
            assert_eq!(second.clients.get_hold(hold_id).await.unwrap().hold_id, hold_id);
        }
    }
    second.clients.hold(product_id, 1).await.unwrap();
    second.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

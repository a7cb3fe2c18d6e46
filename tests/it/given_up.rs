//! Covers calls that run out of time while the server or the gateway is paused, and other calls on that connection.

use std::time::Duration;

use flashsale::pb::GetProductRequest;
use futures_util::future::join_all;
use http::Request as HttpRequest;
use tokio::net::TcpStream;
use tonic::Request;

use crate::support::{
    client::Clients,
    database::TestDatabase,
    programs::{GatewayProgram, ServerProgram},
    signal, wait,
};

/// How many calls run out of time in each of two rounds.
const GIVEN_UP: usize = 4000;
const OTHERS: usize = 50;

/// Pauses a program until this value is dropped.
struct Paused(u32);

impl Paused {
    /// Returns once every thread has stopped: one that is on a processor goes on for a moment.
    fn new(pid: u32) -> Self {
        assert!(signal::send(pid, "STOP"));
        let paused = Self(pid);
        let stopped = wait::look_until(Duration::from_secs(10), || has_stopped(pid).then_some(()));
        assert!(stopped.is_some(), "a thread of {pid} goes on");
        paused
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal::send(self.0, "CONT");
    }
}

/// Tells whether all threads of a process are in the state T of /proc.
fn has_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| thread.unwrap().path().join("stat")).all(|stat| {
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        // The name, in brackets, may have spaces.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// Makes calls that all run out of time at the same moment.
async fn run_out_of_time(clients: &Clients, product_id: i64) {
    let calls = (0..GIVEN_UP).map(async |_| {
        let mut request = Request::new(GetProductRequest { product_id });
        request.set_timeout(Duration::from_millis(500));
        clients.sale.clone().get_product(request).await.unwrap_err()
    });
    join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_calls_that_run_out_of_time_break_nobody_elses_on_their_connection() {
    let database = TestDatabase::create("given_up_calls").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let clients = &server.clients;
    let product_id = clients.create_product("Shoe", 1000, 100).await.product_id;
    for round in 0..2 {
        let paused = Paused::new(server.process.pid());
        // Calls that time out make room for others, which also time out.
        run_out_of_time(clients, product_id).await;
        run_out_of_time(clients, product_id).await;
        let mut others: Vec<_> = (0..OTHERS).map(|_| Box::pin(clients.hold(product_id, 1))).collect();
        for other in &mut others {
            assert!(futures_util::poll!(other).is_pending());
        }
        drop(paused);
        for held in join_all(others).await {
            held.unwrap_or_else(|status| panic!("round {round}: {status:?}"));
        }
    }
    assert_eq!(clients.available_stock(product_id).await, 0);
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_gives_up_all_its_requests_keeps_its_connection_to_the_gateway() {
    let settings = [("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")];
    let gateway = GatewayProgram::start("127.0.0.1:1", &settings).await;
    let stream = TcpStream::connect(&gateway.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let mut get_healthz = || {
        let request = HttpRequest::get(format!("http://{}/healthz", gateway.address)).body(()).unwrap();
        requests.send_request(request, true).unwrap().0
    };
    // The gateway's settings have arrived, which say how many requests may be under way.
    assert_eq!(get_healthz().await.unwrap().status(), 200);

    let paused = Paused::new(gateway.process.pid());
    for _ in 0..2 {
        let given_up: Vec<_> = (0..190).map(|_| get_healthz()).collect();
        // The calls are sent before they are given up: only the task of the connection can remove them.
        tokio::task::yield_now().await;
        drop(given_up);
    }
    let others: Vec<_> = (0..OTHERS).map(|_| get_healthz()).collect();
    drop(paused);
    for answer in join_all(others).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    connection.abort();
    gateway.stop().await;
}

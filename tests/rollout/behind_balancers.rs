//! The promise itself: two programs behind a balancer are restarted, one after the other, and no call is lost.

use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    balancer::{Backend, Balancer, Mode},
    load::{Load, Report},
    restarts::Instance,
};
use crate::support::{client::Clients, database::TestDatabase, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// How many calls a roll-out has to get over.
const CALLS_MIN: usize = 20_000;
/// How many calls are made before the first restart and between two.
const CALLS_BETWEEN: usize = 500;
/// How many connections the callers have to the balancer, and how many calls each has under way.
const CONNECTIONS: usize = 8;
const CALLERS_PER_CONNECTION: usize = 8;
/// Balancers look once a second, and Envoy waits for an answer.
const DRAIN_DELAY: (&str, &str) = ("FLASHSALE_DRAIN_DELAY", "3s");

/// Waits for the other tests of this file. Each makes as many calls as the machine allows, and limits their time.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Puts a product on sale by a server, without the balancer.
async fn product_on_sale(backend: &Backend) -> i64 {
    let clients = Clients::connect(&backend.address()).await;
    clients.create_product("Shoe", 1000, 1_000_000).await.product_id
}

/// Starts callers that make holds over gRPC.
async fn hold_by_grpc(address: &str, product_id: i64) -> Load {
    let connections = Clients::connect_several(address, CONNECTIONS).await;
    let callers = connections.into_iter().flat_map(|clients| vec![clients; CALLERS_PER_CONNECTION]);
    Load::start(callers.map(|clients| {
        move || {
            let clients = clients.clone();
            async move {
                let hold = clients.hold(product_id, 1).await;
                hold.map(drop).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
            }
        }
    }))
}

/// Starts callers that make holds over HTTP/1.1.
fn hold_by_http(address: &str, product_id: i64) -> Load {
    let http = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap();
    let url = format!("http://{address}/api/holds");
    let body = json!({"product_id": product_id, "qty": 1}).to_string();
    Load::start((0..CONNECTIONS * CALLERS_PER_CONNECTION).map(|_| {
        let (http, url, body) = (http.clone(), url.clone(), body.clone());
        move || {
            let request = http.post(&url).header("content-type", "application/json").body(body.clone());
            async move {
                let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
                let status = answer.status();
                let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
                if status == 201 { Ok(()) } else { Err(format!("{status}: {text}")) }
            }
        }
    }))
}

/// Checks that each call was answered in time, and that each answer is a hold and each hold was answered.
async fn assert_nothing_lost(report: &Report, database: &TestDatabase) {
    report.assert_nothing_lost();
    let holds = usize::try_from(database.query_i64("SELECT COUNT(*) FROM holds").await).unwrap();
    assert_eq!(holds, report.answered);
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

async fn restart_both(load: &Load, instances: &mut [Instance], balancer: &Balancer) {
    for instance in instances {
        load.wait_for(CALLS_BETWEEN).await;
        instance.restart(balancer).await;
    }
    load.wait_for(CALLS_BETWEEN).await;
}

async fn servers_are_restarted_behind(name: &str, balancer: impl AsyncFnOnce(&[Backend]) -> Option<Balancer>) {
    let _turn = turn().await;
    let database = TestDatabase::create(name).await;
    let backends = [Backend::new("a"), Backend::new("b")];
    let mut servers = Vec::new();
    for backend in &backends {
        servers.push(Instance::server(backend, &database.url(), &[DRAIN_DELAY]).await);
    }
    let Some(balancer) = balancer(&backends).await else { return };
    let product_id = product_on_sale(&backends[0]).await;
    let load = hold_by_grpc(&balancer.address(), product_id).await;
    restart_both(&load, &mut servers, &balancer).await;
    let report = load.finish(CALLS_MIN).await;
    for mut server in servers {
        server.end().await;
    }
    assert_nothing_lost(&report, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_behind_haproxy_are_restarted_and_no_call_is_lost() {
    servers_are_restarted_behind("rollout_haproxy", async |backends| Balancer::haproxy(Mode::Grpc, backends).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_behind_envoy_are_restarted_and_no_call_is_lost() {
    servers_are_restarted_behind("rollout_envoy", async |backends| Balancer::envoy(backends).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_behind_haproxy_are_restarted_and_no_call_is_lost() {
    let _turn = turn().await;
    let database = TestDatabase::create("rollout_gateways").await;
    let behind = Backend::new("server");
    let mut server = Instance::server(&behind, &database.url(), &[]).await;
    let server_url = format!("http://{}", behind.address());
    let backends = [Backend::new("a"), Backend::new("b")];
    let mut gateways = Vec::new();
    for backend in &backends {
        gateways.push(Instance::gateway(backend, &server_url, &[DRAIN_DELAY]).await);
    }
    let Some(balancer) = Balancer::haproxy(Mode::Http, &backends).await else { return };
    let load = hold_by_http(&balancer.address(), product_on_sale(&behind).await);
    restart_both(&load, &mut gateways, &balancer).await;
    let report = load.finish(CALLS_MIN).await;
    for mut gateway in gateways {
        gateway.end().await;
    }
    server.end().await;
    assert_nothing_lost(&report, &database).await;
}

/// Each server renews its connections every second.
#[tokio::test(flavor = "multi_thread")]
async fn connections_behind_haproxy_are_told_to_go_and_no_call_is_lost() {
    let _turn = turn().await;
    let database = TestDatabase::create("rollout_age").await;
    let backends = [Backend::new("a"), Backend::new("b")];
    let mut servers = Vec::new();
    for backend in &backends {
        servers.push(Instance::server(backend, &database.url(), &[("FLASHSALE_MAX_CONNECTION_AGE", "1s")]).await);
    }
    let Some(balancer) = Balancer::haproxy(Mode::Grpc, &backends).await else { return };
    let product_id = product_on_sale(&backends[0]).await;
    let report = hold_by_grpc(&balancer.address(), product_id).await.finish(CALLS_MIN / 2).await;
    for mut server in servers {
        server.end().await;
    }
    assert_nothing_lost(&report, &database).await;
}

/// A gateway calls its server itself, over one connection, which the server renews every second.
#[tokio::test(flavor = "multi_thread")]
async fn the_connection_of_a_gateway_is_told_to_go_and_no_call_is_lost() {
    let _turn = turn().await;
    let database = TestDatabase::create("rollout_gateway_age").await;
    let (behind, in_front) = (Backend::new("server"), Backend::new("gateway"));
    let mut server = Instance::server(&behind, &database.url(), &[("FLASHSALE_MAX_CONNECTION_AGE", "1s")]).await;
    let mut gateway = Instance::gateway(&in_front, &format!("http://{}", behind.address()), &[]).await;
    let product_id = product_on_sale(&behind).await;
    let report = hold_by_http(&in_front.address(), product_id).finish(CALLS_MIN / 4).await;
    gateway.end().await;
    server.end().await;
    assert_nothing_lost(&report, &database).await;
}

/// HAProxy passes whole connections on here, as a balancer below HTTP does. Only new ones can reach a new server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_later_gets_its_share() {
    let _turn = turn().await;
    let database = TestDatabase::create("rollout_share").await;
    let backends = [Backend::new("a"), Backend::new("b")];
    let aged = [("FLASHSALE_MAX_CONNECTION_AGE", "1s")];
    let mut first = Instance::server(&backends[0], &database.url(), &aged).await;
    let mut later = Instance::server(&backends[1], &database.url(), &aged).await;
    let Some(balancer) = Balancer::haproxy(Mode::Tcp, &backends).await else { return };
    later.end().await;
    let product_id = product_on_sale(&backends[0]).await;
    wait::eventually(LIMIT, "the end of b", async || balancer.is_down(&backends[1]).await).await;

    // These callers are tonic's, which don't repeat a call that never left; so they may fail.
    let load = hold_by_grpc(&balancer.address(), product_id).await;
    load.wait_for(CALLS_BETWEEN).await;
    assert_eq!(balancer.connections_to(&backends[0]).await, CONNECTIONS);
    later.start_again(&balancer).await;
    wait::eventually(LIMIT, "the share of b", async || {
        balancer.connections_to(&backends[1]).await * 2 >= CONNECTIONS - 1
    })
    .await;
    load.finish(0).await;
    first.end().await;
    later.end().await;
}

//! Health watches and reflection streams: how many, and how they end.

use std::time::Instant;

use futures_util::future::join_all;
use tonic_health::pb::HealthCheckRequest;

use super::*;
use crate::support::{programs::STOP_LIMIT, server::TestServer};

const WATCH: &str = "grpc.health.v1.Health/Watch";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn liveness() -> Vec<u8> {
    framed(&prost::Message::encode_to_vec(&HealthCheckRequest { service: "liveness".to_owned() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_64_streams_and_other_calls_as_well() {
    let database = TestDatabase::create("shares_streams").await;
    let server = TestServer::start(&database).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let wire = Wire::connect(&server.address()).await;
    let mut open = join_all((0..64).map(|_| wire.begin(WATCH, &[], liveness()))).await;
    assert!(open.iter().all(|watch| !watch.as_ref().unwrap().headers().contains_key("grpc-status")));
    for path in [WATCH, REFLECTION] {
        let refused = wire.begin(path, &[], liveness()).await.unwrap();
        assert_refused(Err::<(), _>(status(refused.headers())), Code::ResourceExhausted, "OVERLOADED");
    }
    let answer = wire.call::<GetProductResponse>(GET_PRODUCT, &[], &GetProductRequest { product_id }).await.unwrap();
    assert_eq!(answer.product.unwrap().product_id, product_id);
    let other = Wire::connect(&server.address()).await;
    assert!(!other.begin(WATCH, &[], liveness()).await.unwrap().headers().contains_key("grpc-status"));
    open.pop();
    wait::eventually(LIMIT, "a stream", async || {
        let watch = wire.begin(WATCH, &[], liveness()).await.unwrap();
        !watch.headers().contains_key("grpc-status")
    })
    .await;
    drop((open, wire, other));
    server.stop().await;
    database.assert_conserved().await;
}

/// Each takes half of what is left, so a dozen of them have all that is open to strangers.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_watch_health_take_no_place_of_a_call() {
    let database = TestDatabase::create("shares_strangers").await;
    let server = ServerProgram::start(&database.url(), &[("FLASHSALE_MAX_CALLS", "16")]).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let (mut strangers, mut watches) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let wire = Wire::connect(&server.address).await;
        watches.extend(join_all((0..64).map(|_| wire.begin(WATCH, &[], liveness()))).await);
        strangers.push(wire);
    }
    let is_refused = |watch: &&Result<_, _>| {
        let watch: &Result<http::Response<h2::RecvStream>, h2::Error> = watch;
        watch.as_ref().unwrap().headers().contains_key("grpc-status")
    };
    assert!(watches.iter().filter(is_refused).count() > 12 * 64 - 80, "health has its own limit");
    let wire = Wire::connect(&server.address).await;
    let answers = join_all((0..4).map(|_| wire.send(GET_PRODUCT, &[], get_product(product_id)))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    drop((watches, strangers, wire));
    server.stop().await;
    database.assert_conserved().await;
}

/// Before, each stop took all of the 7 s that connections have to end their calls.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_by_themselves_when_the_server_stops_and_do_not_hold_it() {
    let database = TestDatabase::create("shares_stop").await;
    let mut server = ServerProgram::start(&database.url(), &[]).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = server.clients.health.clone().watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let wire = Wire::connect(&server.address).await;
    let reflection = wire.begin(REFLECTION, &[], framed(&[])).await.unwrap();
    let watches = join_all((0..8).map(|_| wire.begin(WATCH, &[], liveness()))).await;
    let begun = Instant::now();
    server.process.terminate();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap(), None, "the stream ends well");
    for answer in watches {
        let mut body = answer.unwrap().into_body();
        while let Some(data) = body.data().await {
            data.unwrap();
        }
        let trailers = body.trailers().await.unwrap().expect("an end");
        assert_eq!(status(&trailers).code(), Code::Ok);
    }
    assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop((reflection, wire));
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_connection_has_its_age() {
    let database = TestDatabase::create("shares_age").await;
    let server = ServerProgram::start(&database.url(), &[("FLASHSALE_MAX_CONNECTION_AGE", "1s")]).await;
    let wire = Wire::connect(&server.address).await;
    let mut body = wire.begin(WATCH, &[], liveness()).await.unwrap().into_body();
    let ended = tokio::time::timeout(LIMIT, async {
        while let Some(data) = body.data().await {
            data.unwrap();
        }
        body.trailers().await.unwrap().expect("an end")
    });
    assert_eq!(status(&ended.await.unwrap()).code(), Code::Ok);
    drop(wire);
    server.stop().await;
    database.assert_conserved().await;
}

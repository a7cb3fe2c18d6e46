//! How much one caller may have: calls under way, room in lanes, memory, streams, and calls a second.

mod flood;
mod streams;
mod unread;

use std::time::Duration;

use flashsale::pb::{GetProductRequest, GetProductResponse};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    client::{Clients, assert_refused, details},
    database::TestDatabase,
    programs::ServerProgram,
    wait,
    wire::{Wire, framed, status},
};

const LIMIT: Duration = Duration::from_secs(30);
const GET_PRODUCT: &str = "flashsale.v1.FlashSaleService/GetProduct";

/// Returns a GetProduct as it is sent.
fn get_product(product_id: i64) -> Vec<u8> {
    framed(&prost::Message::encode_to_vec(&GetProductRequest { product_id }))
}

/// The places are those of a small server: 8 in all, 4 of which a connection may have.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_his_answers_pays_for_them_until_he_drops_them() {
    let database = TestDatabase::create("shares_unread").await;
    let server = ServerProgram::start(&database.url(), &[("FLASHSALE_MAX_CALLS", "8")]).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let wire = Wire::connect_without_reading(&server.address).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let answer = wire.begin(GET_PRODUCT, &[], get_product(product_id)).await.unwrap();
        assert!(!answer.headers().contains_key("grpc-status"), "it has a body: {answer:?}");
        unread.push(answer);
    }
    let refused = wire.begin(GET_PRODUCT, &[], get_product(product_id)).await.unwrap();
    let refused = assert_refused(Err::<(), _>(status(refused.headers())), Code::ResourceExhausted, "OVERLOADED");
    assert!(details(&refused).retry_info().unwrap().retry_delay.is_some());
    // Others have room, and so has he, once he has dropped one.
    assert_eq!(server.clients.available_stock(product_id).await, 10);
    unread.pop();
    wait::eventually(LIMIT, "a place", async || {
        let answer = wire.begin(GET_PRODUCT, &[], get_product(product_id)).await.unwrap();
        !answer.headers().contains_key("grpc-status")
    })
    .await;
    drop((unread, wire));
    let page = server.metrics().await;
    let counted =
        r#"flashsale_refusals_total{reason="OVERLOADED",rpc_method="flashsale.v1.FlashSaleService/GetProduct"}"#;
    let count = page.lines().find_map(|line| line.strip_prefix(counted)).unwrap_or_else(|| panic!("{page}"));
    assert!(count.trim().parse::<u64>().unwrap() >= 1, "{count}");
    server.stop().await;
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_his_rate_hears_when_he_may_call_again_and_others_go_on() {
    let database = TestDatabase::create("shares_rate").await;
    let server = ServerProgram::start(&database.url(), &[("FLASHSALE_MAX_CALL_RATE", "3")]).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let wire = Wire::connect(&server.address).await;
    let call = async || wire.call::<GetProductResponse>(GET_PRODUCT, &[], &GetProductRequest { product_id }).await;
    let begun = std::time::Instant::now();
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(status) = call().await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.unwrap_or_else(|| panic!("1000 calls in {:?}", begun.elapsed()));
    let refused = assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "OVERLOADED");
    let wait = details(&refused).retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= Duration::from_millis(334), "{wait:?}");
    let other = Clients::connect(&server.address).await;
    assert_eq!(other.available_stock(product_id).await, 10);
    // Health isn't counted: whoever looks after the server may ask as often as he likes.
    for _ in 0..20 {
        assert_eq!(other.health("").await.unwrap(), ServingStatus::Serving);
    }
    wait::eventually(LIMIT, "the next call", async || call().await.is_ok()).await;
    drop((wire, other));
    server.stop().await;
    database.assert_conserved().await;
}

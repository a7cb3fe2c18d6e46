//! What answers that nobody reads cost the server in memory.

use std::fs;

use flashsale::pb::{ListProductsRequest, ListProductsResponse};
use futures_util::future::join_all;

use super::*;
use crate::support::at_once::at_once;

const LIST_PRODUCTS: &str = "flashsale.v1.AdminService/ListProducts";
/// Is how much a server may grow, in KiB, by answers that a hostile caller doesn't read.
const GROWTH_MAX_KIB: u64 = 150 * 1024;

/// Returns the memory of a process that is in use, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Two connections ask for pages of 120 KiB and for thousands of small answers, and read none of them.
///
/// Without places the pages alone would be 960 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_answers_that_nobody_reads_take_little_memory_and_others_go_on() {
    const CALLS: usize = 4000;
    let database = TestDatabase::create("shares_memory").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let name = "x".repeat(255);
    let created = at_once(500, |_| {
        let (clients, name) = (server.clients.clone(), name.clone());
        async move { clients.create_product(&name, 1000, 10).await }
    });
    created.await;
    let page = framed(&prost::Message::encode_to_vec(&ListProductsRequest { page_size: 500, ..Default::default() }));
    let reader = Wire::connect(&server.address).await;
    let answer = reader.send(LIST_PRODUCTS, &[], page.clone()).await.unwrap();
    assert!(answer.len() > 120 * 1024, "{}", answer.len());

    let before = resident_kib(server.process.pid());
    let hostile =
        [Wire::connect_without_reading(&server.address).await, Wire::connect_without_reading(&server.address).await];
    let mut kept = Vec::new();
    for wire in &hostile {
        kept.push(join_all((0..CALLS).map(|_| wire.begin(LIST_PRODUCTS, &[], page.clone()))).await);
        kept.push(join_all((0..CALLS).map(|_| wire.begin(GET_PRODUCT, &[], get_product(1)))).await);
    }
    let is_refused = |answer: &Result<http::Response<h2::RecvStream>, h2::Error>| {
        answer.as_ref().unwrap().headers().contains_key("grpc-status")
    };
    let refused: Vec<usize> = kept.iter().map(|kept| kept.iter().filter(|answer| is_refused(answer)).count()).collect();
    let grown = resident_kib(server.process.pid()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB by answers of which {refused:?} were refusals");
    assert!(refused[0] >= CALLS - 128, "{refused:?}");

    // Others are served meanwhile, also with pages.
    let others = at_once(20, |_| {
        let clients = server.clients.clone();
        async move { clients.available_stock(1).await }
    });
    assert_eq!(others.await, [10; 20]);
    let request = ListProductsRequest { page_size: 500, ..Default::default() };
    let page: ListProductsResponse = reader.call(LIST_PRODUCTS, &[], &request).await.unwrap();
    assert_eq!(page.products.len(), 500);
    drop((kept, hostile, reader));
    server.stop().await;
    database.assert_conserved().await;
}

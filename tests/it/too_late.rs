//! Covers what comes too late, and a server that is frozen in the middle of its work.
//!
//! A script may arrive after its caller was refused, a run may begin after its caller has gone, and the answer to an
//! event may be lost.

use std::time::{Duration, Instant};

use flashsale::pb::{PaymentStatus, Product, UpdateProductRequest, UpdateProductResponse};
use prost_types::FieldMask;
use tonic::Code;

use crate::support::{
    client::assert_refused,
    programs::ServerProgram,
    proxy::Proxy,
    sale::{hold_of, repeatable_hold},
    server::{Sale, TestServer},
    signal, wait,
    wire::Wire,
};

const LIMIT: Duration = Duration::from_secs(30);
const UPDATE_PRODUCT: &str = "flashsale.v1.AdminService/UpdateProduct";
/// How long a frozen server's locks may stay, as the README promises.
const FROZEN_MAX: Duration = Duration::from_secs(10);

/// The server knows the product to sell, so the hold is one script, which the proxy holds back.
///
/// Its caller is refused by what is true then. Later the script would be granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_refused_is_not_made_by_a_text_that_comes_later() {
    let (sale, proxy) = Sale::start_behind_proxy("refused_and_made").await;
    let clients = sale.clients();
    for (refuse, relent, reason) in [
        ("paused = TRUE", "paused = FALSE", "SALE_PAUSED"),
        ("ends_at = '2000-01-01'", "ends_at = NULL", "SALE_ENDED"),
        (
            "total_stock = total_stock - available_stock, available_stock = 0",
            "total_stock = total_stock + 5, available_stock = 5",
            "OUT_OF_STOCK",
        ),
        ("max_per_buyer = 1", "max_per_buyer = NULL", "BUYER_LIMIT"),
    ] {
        let product_id = sale.product(10).await;
        clients.hold_by(hold_of("ann", product_id, 1)).await.unwrap();
        let change = async |set: &str| {
            sale.database.execute(&format!("UPDATE products SET {set} WHERE id = {product_id}")).await;
        };
        change(refuse).await;
        proxy.hold_back_next_commit();
        let refused = clients.hold_by(hold_of("ann", product_id, 1)).await;
        assert_refused(refused, Code::FailedPrecondition, reason);
        change(relent).await;
        proxy.deliver_held_back_commit().await;
        let holds = format!("holds WHERE product_id = {product_id}");
        assert_eq!(sale.count(&holds).await, 1, "{reason}");
    }
    sale.database.assert_no_open_transactions().await;
    sale.database.assert_conserved().await;
    sale.server.stop().await;
}

/// One event is delivered to two servers at once, and the first loses the answer to its COMMIT, or its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_told_to_be_new_once_at_the_most_whatever_is_lost() {
    let (sale, proxy) = Sale::start_behind_proxy("first_time_once").await;
    let other = TestServer::start(&sale.database).await;
    let product_id = sale.product(100).await;
    for round in 0..20 {
        let order_id = sale.ordered(product_id, 1).await.order_id;
        if round % 2 == 0 {
            proxy.lose_next_commit_answer()
        } else {
            proxy.drop_next_commit_request()
        }
        let key = format!("key {round}");
        let (one, two) = tokio::join!(
            sale.clients().pay(&key, order_id, PaymentStatus::Success),
            other.clients.pay(&key, order_id, PaymentStatus::Success),
        );
        let first_times = [one, two].map(|answer| answer.unwrap().first_time);
        assert!(first_times != [true, true], "round {round}");
    }
    other.stop().await;
    sale.finish().await;
}

/// A pause's caller gives up while the network is down, and another server goes on with the sale.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_whose_caller_has_gone_does_not_undo_what_was_answered_since() {
    let (sale, proxy) = Sale::start_behind_proxy("late_pause").await;
    let other = TestServer::start(&sale.database).await;
    let product_id = sale.product(10).await;
    let wire = Wire::connect(&sale.server.address()).await;
    let pause = UpdateProductRequest {
        product: Some(Product { product_id, paused: true, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["paused".to_owned()] }),
    };
    proxy.blackhole();
    let deadline = [("grpc-timeout", "700m")];
    let given_up = wire.call::<UpdateProductResponse>(UPDATE_PRODUCT, &deadline, &pause).await;
    assert_refused(given_up, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    other.clients.pause(product_id, false).await.unwrap();
    proxy.heal();
    // The product's lane does one thing after the other, so the pause is over before this call.
    sale.clients().update(Product { product_id, name: "Boot".into(), ..Default::default() }, &["name"]).await.unwrap();
    assert!(!sale.clients().product(product_id).await.unwrap().paused);
    other.stop().await;
    sale.finish().await;
}

/// A server stands still with an order's hold locked, and its clients repeat at another server.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_server_has_locked_is_soon_free_and_holds_up_no_other() {
    let sale = Sale::start("frozen").await;
    let proxy = Proxy::start(sale.database.port()).await;
    let frozen = ServerProgram::start(&sale.database.url_at(proxy.port()), &[]).await;
    let clients = sale.clients();
    let product_id = sale.product(100).await;
    let mut holds = Vec::new();
    for _ in 0..4 {
        holds.push(clients.hold(product_id, 1).await.unwrap().hold_id);
    }
    proxy.stall_next_commit();
    let at_frozen = frozen.clients.clone();
    let stuck = holds[0];
    let ordering = tokio::spawn(async move { at_frozen.order(stuck).await });
    wait::eventually(LIMIT, "the order's COMMIT", async || !proxy.is_waiting_for_commit()).await;
    assert!(signal::send(frozen.process.pid(), "STOP"));
    let began = Instant::now();
    // The repeat waits alone, and delays no other call.
    let repeat = async { assert_refused(clients.order(stuck).await, Code::Unavailable, "LOCK_CONTENTION") };
    let others = async {
        for hold_id in &holds[1..] {
            clients.order(*hold_id).await.unwrap();
        }
        clients.hold_by(repeatable_hold(product_id, 1, "other")).await.unwrap();
        began.elapsed()
    };
    let (_told, others) = tokio::join!(repeat, others);
    assert!(others < Duration::from_secs(1), "{others:?}");
    wait::eventually(FROZEN_MAX, "the hold to be free", async || clients.order(stuck).await.is_ok()).await;
    assert!(began.elapsed() < FROZEN_MAX, "{:?}", began.elapsed());
    assert!(signal::send(frozen.process.pid(), "CONT"));
    assert_eq!(ordering.await.unwrap().map_err(|status| status.code()).unwrap_err(), Code::FailedPrecondition);
    frozen.stop().await;
    sale.finish().await;
}

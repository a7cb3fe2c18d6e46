//! Callers who flood the server, and the others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use flashsale::{
    checkout::Settings,
    pb::{CreateOrderRequest, GetHoldRequest},
};
use futures_util::future::join_all;

use super::*;
use crate::support::server::{Sale, default_settings};

const CREATE_ORDER: &str = "flashsale.v1.FlashSaleService/CreateOrder";
const GET_HOLD: &str = "flashsale.v1.FlashSaleService/GetHold";
/// Is the id of a hold that there isn't.
const NO_HOLD: i64 = i64::MAX;
/// Is the room of a lane in this test.
const LANE_QUEUE: usize = 400;
/// Is how many calls a hostile connection has under way: half of them for each of two lanes.
const HOSTILE_CALLS: usize = 3 * LANE_QUEUE;

/// Makes calls without a pause, each caller one at a time, until it is told to stop.
async fn flood(address: String, stop: Arc<AtomicBool>, made: Arc<AtomicUsize>) {
    let wire = Wire::connect(&address).await;
    let order = framed(&prost::Message::encode_to_vec(&CreateOrderRequest { hold_id: NO_HOLD, ..Default::default() }));
    let hold = framed(&prost::Message::encode_to_vec(&GetHoldRequest { hold_id: NO_HOLD }));
    let one = async |number: usize| {
        while !stop.load(Ordering::Relaxed) {
            let (path, body) = if number.is_multiple_of(2) { (CREATE_ORDER, &order) } else { (GET_HOLD, &hold) };
            // Each is refused, whether there is room or not.
            let refused = wire.send(path, &[], body.clone()).await.unwrap_err();
            assert!(matches!(refused.code(), Code::NotFound | Code::ResourceExhausted), "{refused:?}");
            made.fetch_add(1, Ordering::Relaxed);
        }
    };
    join_all((0..HOSTILE_CALLS).map(one)).await;
}

/// Counts the calls that failed because the server had no room.
async fn overloaded<T>(calls: usize, call: impl AsyncFn() -> Result<T, tonic::Status>) -> usize {
    let mut overloaded = 0;
    for _ in 0..calls {
        if let Err(status) = call().await {
            assert_refused(Err::<(), _>(status), Code::ResourceExhausted, "OVERLOADED");
            overloaded += 1;
        }
    }
    overloaded
}

/// Before, 42 of 100 orders of others were refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_that_flood_the_lanes_do_not_starve_the_others() {
    const CALLERS: usize = 10;
    const CALLS: usize = 5;
    let sale = Sale::start_with("shares_flood", Settings { lane_queue: LANE_QUEUE, ..default_settings() }).await;
    let product_id = sale.product(1000).await;
    let mut holds = Vec::new();
    for _ in 0..CALLERS * CALLS {
        holds.push(sale.clients().hold(product_id, 1).await.unwrap().hold_id);
    }
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let floods: Vec<_> =
        (0..2).map(|_| tokio::spawn(flood(sale.server.address(), Arc::clone(&stop), Arc::clone(&made)))).collect();
    wait::eventually(LIMIT, "a flood", async || made.load(Ordering::Relaxed) > 2 * HOSTILE_CALLS).await;
    let others = Clients::connect_several(&sale.server.address(), 2).await;
    let ordered = holds.chunks(CALLS).enumerate().map(async |(number, holds)| {
        let clients = &others[number % others.len()];
        let mut refused = 0;
        for hold_id in holds {
            refused += overloaded(1, async || clients.order(*hold_id).await).await;
            refused += overloaded(1, async || clients.get_hold(*hold_id).await).await;
        }
        refused
    });
    let refused: usize = join_all(ordered).await.into_iter().sum();
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    let all = 2 * CALLERS * CALLS;
    assert!(refused * 100 <= all, "{refused} of {all} calls of others were refused");
    drop(others);
    sale.finish().await;
}

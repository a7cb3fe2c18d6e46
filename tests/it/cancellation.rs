//! Covers callers that hang up or run out of time, and callers for whom there is no room.

use std::time::{Duration, Instant};

use flashsale::pb::{
    CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, CreateOrderResponse, HandlePaymentWebhookRequest,
    HandlePaymentWebhookResponse, PaymentStatus, ReleaseHoldRequest, ReleaseHoldResponse,
};
use futures_util::future::{join_all, select_all};
use tonic::Code;

use crate::support::{
    client::{assert_refused, details},
    database::{RawConnection, TestDatabase},
    proxy::Proxy,
    server::{Sale, TestServer, default_settings},
    wait,
    wire::Wire,
};

const LIMIT: Duration = Duration::from_secs(30);
const CREATE_HOLD: &str = "flashsale.v1.FlashSaleService/CreateHold";
const CREATE_ORDER: &str = "flashsale.v1.FlashSaleService/CreateOrder";
const RELEASE_HOLD: &str = "flashsale.v1.FlashSaleService/ReleaseHold";
const HANDLE_PAYMENT_WEBHOOK: &str = "flashsale.v1.PaymentService/HandlePaymentWebhook";

/// A deadline that passes while a row is locked.
const SHORT: &[(&str, &str)] = &[("grpc-timeout", "200m")];

/// Locks a row of a table from another session.
async fn holder(database: &TestDatabase, table: &str, id: i64) -> RawConnection {
    database.lock_rows(&format!("{table} WHERE id = {id}")).await
}

/// Inserts a hold with the same request_id in another session, without a COMMIT.
///
/// A lane takes its commands only after it has locked the product, so a lock on the product would keep them out of a
/// transaction. They wait for this INSERT inside of one.
async fn same_request(database: &TestDatabase, product_id: i64, request_id: &str) -> RawConnection {
    let mut holder = database.connect().await;
    holder.execute("BEGIN").await;
    let columns = "product_id, qty, unit_price_cents, expires_at, created_at, request_id";
    let values = format!("{product_id}, 2, 1000, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), '{request_id}'");
    holder.execute(&format!("INSERT INTO holds ({columns}) VALUES ({values})")).await;
    holder
}

fn hold_request(product_id: i64, request_id: &str) -> CreateHoldRequest {
    CreateHoldRequest { product_id, qty: 2, request_id: Some(request_id.to_owned()), ..Default::default() }
}

/// Waits until the query returns `expected`.
async fn wait_for(database: &TestDatabase, query: &str, expected: i64) {
    wait::eventually(LIMIT, &format!("{expected} from {query}"), async || database.query_i64(query).await == expected)
        .await;
}

/// Returns the request_ids of the holds, in the order in which they were made.
async fn requests_of_holds(database: &TestDatabase) -> Vec<String> {
    let rows = database.query_rows("SELECT request_id FROM holds ORDER BY request_id").await;
    rows.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_given_up_in_its_transaction_is_done_and_leaves_nothing_open() {
    let sale = Sale::start("given_up").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let mut holder = same_request(&sale.database, product_id, "given-up").await;
    let clients = sale.clients().clone();
    let call = tokio::spawn(async move { clients.hold_by(hold_request(product_id, "given-up")).await });
    sale.database.wait_for_waiter().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    holder.execute("ROLLBACK").await;
    wait_for(&sale.database, "SELECT COUNT(*) FROM holds", 1).await;
    assert_eq!(sale.clients().available_stock(product_id).await, 8);
    sale.finish().await;
}

/// A transaction that has begun is completed, also if its caller hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_reset_in_a_transaction_leaves_it_to_be_done_once() {
    let sale = Sale::start("reset").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 100).await.product_id;
    let mut holder = same_request(&sale.database, product_id, "reset").await;
    let wire = Wire::connect(&sale.server.address()).await;
    let request = hold_request(product_id, "reset");
    tokio::select! {
        _ = wire.call::<CreateHoldResponse>(CREATE_HOLD, &[], &request) => panic!("the request is taken"),
        _ = sale.database.wait_for_waiter() => {}
    }
    drop(wire);
    holder.execute("ROLLBACK").await;
    wait_for(&sale.database, "SELECT COUNT(*) FROM holds WHERE request_id = 'reset'", 1).await;
    assert_eq!(sale.clients().available_stock(product_id).await, 98);
    sale.finish().await;
}

/// Another session has locked the row of each of these calls, and the caller runs out of time. The next caller gets the
/// row.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_given_up_while_its_row_is_busy_is_passed_over() {
    let sale = Sale::start("given_up_busy").await;
    let (database, clients) = (&sale.database, sale.clients());
    let product_id = clients.create_product("Shoe", 1000, 100).await.product_id;
    let held = clients.hold(product_id, 2).await.unwrap().hold_id;
    let ordered = clients.order(clients.hold(product_id, 2).await.unwrap().hold_id).await.unwrap().order_id;
    let payment = |key: &str| HandlePaymentWebhookRequest {
        idempotency_key: key.to_owned(),
        order_id: ordered,
        status: PaymentStatus::Failure.into(),
        amount_cents: None,
        ..Default::default()
    };
    let address = sale.server.address();

    let mut other = holder(database, "holds", held).await;
    let request = CreateOrderRequest { hold_id: held, request_id: Some("given-up".to_owned()), ..Default::default() };
    give_up::<CreateOrderResponse>(&address, CREATE_ORDER, &request).await;
    give_up::<ReleaseHoldResponse>(&address, RELEASE_HOLD, &ReleaseHoldRequest { hold_id: held }).await;
    other.execute("ROLLBACK").await;
    // The hold is neither ordered nor released, so another request may order it.
    clients.order(held).await.unwrap();

    let mut other = holder(database, "orders", ordered).await;
    give_up::<HandlePaymentWebhookResponse>(&address, HANDLE_PAYMENT_WEBHOOK, &payment("given up")).await;
    other.execute("ROLLBACK").await;
    assert!(clients.pay_by(payment("later")).await.unwrap().first_time);
    let keys = database.query_rows("SELECT idempotency_key FROM payment_webhooks").await;
    assert_eq!(keys, [["later"]]);

    // The failed payment's units are back, so only the 2 of the second order are missing.
    assert_eq!(clients.available_stock(product_id).await, 98);
    sale.finish().await;
}

/// Makes a call whose deadline passes while its row is locked. After the answer the server knows that nobody waits.
async fn give_up<A: prost::Message + Default + std::fmt::Debug>(
    address: &str,
    method: &str,
    request: &impl prost::Message,
) {
    let wire = Wire::connect(address).await;
    let answer = wire.call::<A>(method, SHORT, request).await;
    assert_refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_given_up_before_its_turn_is_passed_over() {
    let sale = Sale::start("passed_over").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let mut holder = holder(&sale.database, "products", product_id).await;
    let at_work = sale.clients().hold_by(hold_request(product_id, "at-work"));
    let given_up = async {
        sale.database.wait_for_waiter().await;
        let started = Instant::now();
        let wire = Wire::connect(&sale.server.address()).await;
        let (hung_up, too_late) = (hold_request(product_id, "hung-up"), hold_request(product_id, "too-late"));
        tokio::select! {
            _ = wire.call::<CreateHoldResponse>(CREATE_HOLD, &[], &hung_up) => panic!("the row is locked"),
            answer = wire.call::<CreateHoldResponse>(CREATE_HOLD, SHORT, &too_late) => {
                let status = assert_refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
                assert!(details(&status).retry_info().unwrap().retry_delay.is_some());
            }
        }
        assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());
        drop(wire);
        // The lane goes on only after the server has noticed: a call that comes later has run out of time, too.
        let behind = Wire::connect(&sale.server.address()).await;
        let answer = behind.call::<CreateHoldResponse>(CREATE_HOLD, SHORT, &too_late).await;
        assert_refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        holder.execute("ROLLBACK").await;
    };
    let (at_work, ()) = tokio::join!(at_work, given_up);
    at_work.unwrap();
    // This call is behind those in the queue.
    sale.clients().hold_by(hold_request(product_id, "later")).await.unwrap();
    assert_eq!(requests_of_holds(&sale.database).await, ["at-work", "later"]);
    // The call that ran out of time may be sent again.
    sale.clients().hold_by(hold_request(product_id, "too-late")).await.unwrap();
    assert_eq!(sale.clients().available_stock(product_id).await, 4);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_passes_in_its_transaction_is_done_and_its_repeat_finds_it() {
    let sale = Sale::start("deadline_at_work").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let mut holder = same_request(&sale.database, product_id, "mine").await;
    let wire = Wire::connect(&sale.server.address()).await;
    let request = hold_request(product_id, "mine");
    // The batch begins before this deadline.
    let call = wire.call::<CreateHoldResponse>(CREATE_HOLD, &[("grpc-timeout", "1500m")], &request);
    let (answer, _waiter) = tokio::join!(call, sale.database.wait_for_waiter());
    assert_refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_eq!(sale.database.query_i64("SELECT COUNT(*) FROM holds").await, 0);
    holder.execute("ROLLBACK").await;

    let repeated = sale.clients().hold_by(request).await.unwrap();
    assert_eq!(sale.database.query_rows("SELECT id FROM holds").await, [[repeated.hold_id.to_string()]]);
    assert_eq!(sale.clients().available_stock(product_id).await, 8);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_the_others_are_served() {
    let sale = Sale::start_with("full_queue", flashsale::checkout::Settings { lane_queue: 3, ..default_settings() });
    let sale = sale.await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let mut holder = same_request(&sale.database, product_id, "at-work").await;
    let clients = sale.clients().clone();
    let at_work = tokio::spawn(async move { clients.hold_by(hold_request(product_id, "at-work")).await });
    sale.database.wait_for_waiter().await;

    // Two of the ten find room: the half that one connection may have, made whole.
    let mut calls: Vec<_> = (0..10)
        .map(|_| {
            let clients = sale.clients().clone();
            tokio::spawn(async move { clients.hold(product_id, 1).await })
        })
        .collect();
    let started = Instant::now();
    while calls.len() > 2 {
        let (refused, _, others) = select_all(calls).await;
        calls = others;
        let status = assert_refused(refused.unwrap(), Code::ResourceExhausted, "OVERLOADED");
        assert!(details(&status).retry_info().unwrap().retry_delay.is_some());
    }
    // The batch at work gets its answer only after two waits for its lock.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // Another product's lane has room.
    let other = sale.clients().create_product("Sock", 100, 10).await.product_id;
    sale.clients().hold(other, 1).await.unwrap();
    holder.execute("ROLLBACK").await;
    at_work.await.unwrap().unwrap();
    for served in join_all(calls).await {
        served.unwrap().unwrap();
    }
    assert_eq!(sale.clients().available_stock(product_id).await, 6);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_no_free_connection_is_overloaded() {
    let database = TestDatabase::create("no_connection").await;
    let proxy = Proxy::start(database.port()).await;
    let url = database.url_at(proxy.port());
    let server = TestServer::start_with_pool(&url, 1, default_settings()).await;
    let clients = &server.clients;
    let (one, other) = tokio::join!(clients.create_product("Shoe", 1000, 9), clients.create_product("Sock", 100, 9));
    proxy.blackhole();
    // One of the calls, or the health check, has the connection, and the others wait for it in vain.
    let one = clients.hold(one.product_id, 1);
    let other = clients.hold(other.product_id, 1);
    let (first, rest) = futures_util::future::select(Box::pin(one), Box::pin(other)).await.factor_first();
    let status = assert_refused(first, Code::ResourceExhausted, "OVERLOADED");
    assert!(details(&status).retry_info().unwrap().retry_delay.is_some());
    proxy.heal();
    if let Err(status) = rest.await {
        assert_refused(Err::<(), _>(status), Code::ResourceExhausted, "OVERLOADED");
    }
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}

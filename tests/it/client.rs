//! Calls real servers by `flashsale-client`: killed and restarted, away, silent, locked and overloaded ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use flashsale::{
    checkout::Settings,
    pb::{CreateHoldRequest, CreateOrderRequest, GetProductRequest, Hold, PaymentStatus},
};
use flashsale_client::{CallError, Client, Refusal, Repeat};
use futures_util::future::join_all;
use tokio::net::TcpListener;

use crate::support::{
    database::TestDatabase,
    mysqld::free_port,
    programs::ServerProgram,
    proxy::Proxy,
    sale::{event, hold, product, repeatable_hold},
    server::{Sale, TestServer, default_settings},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Makes a client of the servers at these addresses.
fn client(addresses: &[&str]) -> Client {
    let addresses = addresses.iter().map(|address| format!("http://{address}"));
    Client::builder(addresses).unwrap().deadline(LIMIT).connect().unwrap()
}

/// Reads a product.
async fn look(client: &Client, product_id: i64) -> Result<i64, CallError> {
    Ok(client.get_product(GetProductRequest { product_id }).await?.available_stock)
}

/// Waits until so many calls in a row take less than a second each.
async fn wait_for_quick_calls(client: &Client, product_id: i64) {
    const CALLS: usize = 20;
    let client = client.within(Duration::from_secs(1));
    wait::eventually(LIMIT, "only quick calls", async || {
        let looks = join_all((0..CALLS).map(|_| look(&client, product_id))).await;
        looks.iter().all(Result::is_ok)
    })
    .await;
}

/// Buys one unit after the other, and counts the orders.
async fn buy(client: Client, product_id: i64, wishes: usize, bought: Arc<AtomicUsize>) -> Result<(), CallError> {
    for _ in 0..wishes {
        let Hold { hold_id, .. } = client.create_hold(hold(product_id, 1)).await?;
        client.create_order(CreateOrderRequest { hold_id, ..Default::default() }).await?;
        bought.fetch_add(1, Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wish_is_granted_once_while_the_server_is_killed_and_comes_back() {
    const CALLERS: usize = 8;
    const WISHES: usize = 40;
    let database = TestDatabase::create("every_wish_is_granted_once").await;
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = ServerProgram::start_at(&address, &database.url(), &[]).await;
    let product_id = server.clients.try_create_product(product(1000)).await.unwrap().product_id;
    let (client, bought) = (client(&[&address]), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(buy(client.clone(), product_id, WISHES, Arc::clone(&bought)))).collect();
    for kill_at in [CALLERS, CALLERS * WISHES / 2] {
        wait::eventually(LIMIT, "some orders", async || bought.load(Relaxed) >= kill_at).await;
        server.process.kill();
        server.process.wait_exit(LIMIT).await;
        assert!(bought.load(Relaxed) < CALLERS * WISHES, "the server was killed too late");
        server = ServerProgram::start_at(&address, &database.url(), &[]).await;
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let wishes = i64::try_from(CALLERS * WISHES).unwrap();
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM holds").await, wishes);
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM orders").await, wishes);
    server.stop().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_address_fails_no_call_and_is_called_when_it_lives() {
    let sale = Sale::start("a_dead_address_fails_no_call").await;
    let product_id = sale.product(3).await;
    let later = format!("127.0.0.1:{}", free_port());
    let addresses = [sale.server.address(), later.clone()].map(|address| format!("http://{address}"));
    // Nothing but what was never sent is repeated, and at once: a call that waits would fail.
    let builder = Client::builder(addresses).unwrap().repeat(Repeat::NotSent);
    let client = builder.deadline(Duration::from_secs(5)).connect().unwrap();
    for answer in join_all((0..50).map(|_| look(&client, product_id))).await {
        assert_eq!(answer.unwrap(), 3);
    }
    let second = ServerProgram::start_at(&later, &sale.database.url(), &[]).await;
    let Sale { database, server } = sale;
    server.stop().await;
    wait_for_quick_calls(&client, product_id).await;
    drop(client);
    second.stop().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_silent_or_says_that_it_does_not_serve_is_left_out() {
    let sale = Sale::start("an_address_that_is_silent").await;
    let product_id = sale.product(3).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let proxy = Proxy::start(sale.database.port()).await;
    let cut_off = TestServer::start_with(&sale.database.url_at(proxy.port()), default_settings()).await;
    let client = client(&[&sale.server.address(), &silent_address, &cut_off.address()]);
    proxy.cut();
    wait_for_quick_calls(&client, product_id).await;
    // The one that serves goes, and the other comes back.
    proxy.heal();
    let Sale { database, server } = sale;
    server.stop().await;
    wait_for_quick_calls(&client, product_id).await;
    drop(client);
    cut_off.stop().await;
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_server_is_asked_again_when_it_wants_it() {
    let settings = Settings { lane_queue: 1, ..default_settings() };
    let sale = Sale::start_with("an_overloaded_server", settings).await;
    let product_id = sale.product(50).await;
    let client = client(&[&sale.server.address()]);
    let mut owner = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let begun = Instant::now();
    let holds = tokio::spawn({
        let client = client.clone();
        async move { join_all((0..20).map(|_| client.create_hold(hold(product_id, 1)))).await }
    });
    // Somebody without repeats hears it.
    let impatient = Client::builder([format!("http://{}", sale.server.address())]).unwrap().repeat(Repeat::NotSent);
    let impatient = impatient.connect().unwrap();
    wait::eventually(LIMIT, "an overload", async || {
        let short = impatient.within(Duration::from_millis(200));
        let refused = short.create_hold(hold(product_id, 1)).await.unwrap_err();
        matches!(refused.refusal(), Some(Refusal::Overloaded))
    })
    .await;
    owner.execute("COMMIT").await;
    for answer in holds.await.unwrap() {
        answer.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "the server wants 500 ms: {:?}", begun.elapsed());
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_kept_with_all_repeats() {
    let sale = Sale::start("the_deadline_is_kept").await;
    let product_id = sale.product(3).await;
    let address = sale.server.address();
    let (client, deadline) = (client(&[&address]), Duration::from_millis(700));
    let owner = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    for client in [client.within(deadline), self::client(&["127.0.0.1:1"]).within(deadline)] {
        let begun = Instant::now();
        let error = client.create_hold(hold(product_id, 1)).await.unwrap_err();
        let spent = begun.elapsed();
        assert!(matches!(error, CallError::TimedOut | CallError::NotSent(_) | CallError::Refused(_)), "{error:?}");
        assert!(spent < deadline + Duration::from_millis(500), "{spent:?}");
    }
    drop(owner);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_has_one_request_id_and_a_callers_own_is_kept() {
    let sale = Sale::start("a_wish_has_one_request_id").await;
    let product_id = sale.product(9).await;
    let client = client(&[&sale.server.address()]);
    let one = client.create_hold(repeatable_hold(product_id, 1, "mine")).await.unwrap();
    let again = client.create_hold(repeatable_hold(product_id, 1, "mine")).await.unwrap();
    assert_eq!(one, again);
    let (two, three) = (client.create_hold(hold(product_id, 1)).await, client.create_hold(hold(product_id, 1)).await);
    assert_ne!(two.unwrap().hold_id, three.unwrap().hold_id);
    let ids = sale.database.query_rows("SELECT request_id FROM holds ORDER BY id").await;
    assert!(ids[0][0] == "mine" && ids[1][0].len() == 32 && ids[1] != ids[2], "{ids:?}");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_server_is_typed() {
    let sale = Sale::start("a_refusal_is_typed").await;
    let product_id = sale.product(3).await;
    let client = client(&[&sale.server.address()]);
    let refused = client.create_hold(hold(product_id, 5)).await.unwrap_err();
    let out = Refusal::OutOfStock { product_id, requested: 5, available_stock: 3 };
    assert_eq!(refused.refusal(), Some(&out));
    assert_eq!(refused.to_string(), "OUT_OF_STOCK: Not enough stock");
    let refused = client.create_hold(CreateHoldRequest { qty: 0, ..hold(0, 0) }).await.unwrap_err();
    let Some(Refusal::InvalidArgument { violations }) = refused.refusal() else { panic!("{refused:?}") };
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["product_id", "qty"]);

    let order = sale.ordered(product_id, 1).await;
    let paid = client.handle_payment_webhook(event("key", order.order_id, PaymentStatus::Success, None)).await.unwrap();
    assert!(paid.first_time);
    let used = client.create_order(CreateOrderRequest { hold_id: order.hold_id, ..Default::default() }).await;
    let used = used.unwrap_err();
    assert_eq!(used.refusal(), Some(&Refusal::HoldUsed { hold_id: order.hold_id, order_id: order.order_id }));
    sale.finish().await;
}

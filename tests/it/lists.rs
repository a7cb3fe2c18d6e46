//! Tests the operator's lists: what is on them, page by page.

use std::{collections::BTreeSet, time::Duration};

use flashsale::pb::{
    CreateProductRequest, Hold, HoldStatus, ListHoldsRequest, ListOrdersRequest, ListPaymentEventsRequest,
    ListProductsRequest, Order, OrderStatus, PaymentEventResult, PaymentStatus, Product,
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::support::{
    client::{Clients, assert_refused},
    sale::{bad_fields, event, hold_of, product},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(20);

/// Reads a list to its end, in pages of `page_size`.
macro_rules! all_pages {
    ($clients:expr, $rpc:ident, $entries:ident, $request:expr, $page_size:expr) => {{
        let mut request = $request;
        request.page_size = $page_size;
        let mut all = Vec::new();
        loop {
            let response = $clients.admin.clone().$rpc(request.clone()).await.unwrap().into_inner();
            assert!(response.$entries.len() <= usize::try_from($page_size).unwrap());
            all.extend(response.$entries);
            if response.next_page_token.is_empty() {
                break all;
            }
            request.page_token = response.next_page_token;
        }
    }};
}

async fn holds(clients: &Clients, request: ListHoldsRequest) -> Vec<i64> {
    let one_by_one: Vec<Hold> = all_pages!(clients, list_holds, holds, request.clone(), 1);
    for page_size in [2, 3, 500] {
        assert_eq!(all_pages!(clients, list_holds, holds, request.clone(), page_size), one_by_one, "{page_size}");
    }
    for hold in &one_by_one {
        assert_eq!(clients.get_hold(hold.hold_id).await.unwrap(), *hold);
    }
    one_by_one.iter().map(|hold| hold.hold_id).collect()
}

async fn orders(clients: &Clients, request: ListOrdersRequest) -> Vec<i64> {
    let one_by_one: Vec<Order> = all_pages!(clients, list_orders, orders, request.clone(), 1);
    for page_size in [2, 3, 500] {
        assert_eq!(all_pages!(clients, list_orders, orders, request.clone(), page_size), one_by_one, "{page_size}");
    }
    for order in &one_by_one {
        assert_eq!(clients.get_order(order.order_id).await.unwrap(), *order);
    }
    one_by_one.iter().map(|order| order.order_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_listed_by_state_and_buyer_newest_first() {
    let sale = Sale::start("a_list_of_holds").await;
    let clients = sale.clients();
    let (product_id, other) = (sale.product(100).await, sale.product(100).await);
    clients.hold(other, 1).await.unwrap();
    let mut ids = Vec::new();
    for (buyer, _) in [("ann", 0), ("bob", 1), ("ann", 2), ("ann", 3), ("bob", 4), ("ann", 5)] {
        ids.push(clients.hold_by(hold_of(buyer, product_id, 1)).await.unwrap().hold_id);
    }
    clients.release(ids[1]).await.unwrap();
    clients.order(ids[2]).await.unwrap();
    // Past its time, and not swept.
    sale.database.move_times(&format!("UPDATE holds SET expires_at = '2000-01-01' WHERE id = {}", ids[3])).await;
    let of = |buyer: Option<&str>, status: HoldStatus| ListHoldsRequest {
        product_id,
        buyer_id: buyer.map(str::to_owned),
        status: status.into(),
        ..Default::default()
    };
    let listed = async |buyer, status| holds(clients, of(buyer, status)).await;
    // The hold whose time was moved is the oldest by its expires_at.
    let all = [ids[5], ids[4], ids[2], ids[1], ids[0], ids[3]];
    assert_eq!(listed(None, HoldStatus::Unspecified).await, all);
    assert_eq!(listed(None, HoldStatus::Active).await, [ids[5], ids[4], ids[0]]);
    assert_eq!(listed(None, HoldStatus::Used).await, [ids[2]]);
    assert_eq!(listed(None, HoldStatus::Expired).await, [ids[3]]);
    assert_eq!(listed(None, HoldStatus::Cancelled).await, [ids[1]]);
    assert_eq!(listed(Some("ann"), HoldStatus::Unspecified).await, [ids[5], ids[3], ids[2], ids[0]]);
    assert_eq!(listed(Some("ann"), HoldStatus::Expired).await, [ids[3]]);
    assert_eq!(listed(Some("bob"), HoldStatus::Active).await, [ids[4]]);
    assert_eq!(listed(Some("Ann"), HoldStatus::Unspecified).await, [0; 0]);
    sale.finish().await;
}

/// Holds of one batch have the same expires_at, to the microsecond.
#[tokio::test(flavor = "multi_thread")]
async fn holds_that_end_at_one_moment_are_each_listed_once() {
    let sale = Sale::start("holds_of_one_moment").await;
    let product_id = sale.product(100).await;
    for _ in 0..25 {
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    sale.database.move_times("UPDATE holds SET expires_at = '2035-01-01'").await;
    let request = ListHoldsRequest { product_id, ..Default::default() };
    let listed = holds(sale.clients(), request).await;
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 25);
    assert!(listed.is_sorted_by(|one, next| one > next), "{listed:?}");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_by_state_and_buyer_newest_first() {
    let sale = Sale::start("a_list_of_orders").await;
    let clients = sale.clients();
    let product_id = sale.product(100).await;
    let mut ids = Vec::new();
    for buyer in ["ann", "bob", "ann", "ann", "bob"] {
        let hold = clients.hold_by(hold_of(buyer, product_id, 1)).await.unwrap();
        ids.push(clients.order(hold.hold_id).await.unwrap().order_id);
    }
    clients.pay("k", ids[1], PaymentStatus::Success).await.unwrap();
    clients.cancel(ids[2]).await.unwrap();
    sale.database.move_times(&format!("UPDATE orders SET payment_due_at = '2000-01-01' WHERE id = {}", ids[3])).await;
    sale.database.move_times(&format!("UPDATE orders SET payment_due_at = NULL WHERE id = {}", ids[4])).await;
    let request = || ListOrdersRequest { product_id, ..Default::default() };
    let of_buyer = |buyer: &str| ListOrdersRequest { buyer_id: Some(buyer.to_owned()), ..request() };
    let in_state = |status: OrderStatus| ListOrdersRequest { status: status.into(), ..request() };
    assert_eq!(orders(clients, request()).await, [ids[2], ids[1], ids[0], ids[3], ids[4]]);
    assert_eq!(orders(clients, in_state(OrderStatus::Pending)).await, [ids[0], ids[3], ids[4]]);
    assert_eq!(orders(clients, in_state(OrderStatus::Paid)).await, [ids[1]]);
    assert_eq!(orders(clients, in_state(OrderStatus::Cancelled)).await, [ids[2]]);
    assert_eq!(orders(clients, of_buyer("ann")).await, [ids[3], ids[2], ids[0]]);
    assert_eq!(orders(clients, ListOrdersRequest { overdue: Some(true), ..request() }).await, [ids[3]]);
    assert_eq!(orders(clients, ListOrdersRequest { overdue: Some(true), ..of_buyer("ann") }).await, [ids[3]]);
    assert_eq!(orders(clients, ListOrdersRequest { overdue: Some(true), ..of_buyer("bob") }).await, [0; 0]);
    let paid_of_bob = ListOrdersRequest { status: OrderStatus::Paid.into(), ..of_buyer("bob") };
    assert_eq!(orders(clients, paid_of_bob).await, [ids[1]]);
    sale.finish().await;
}

/// Reads the orders settled after `after`, as somebody does who ships.
async fn settled(clients: &Clients, product_id: i64, after: Timestamp) -> Result<Vec<Order>, Status> {
    let request = ListOrdersRequest { product_id, settled_after: Some(after), page_size: 2, ..Default::default() };
    let mut request = request;
    let mut all = Vec::new();
    loop {
        let response = clients.admin.clone().list_orders(request.clone()).await?.into_inner();
        all.extend(response.orders);
        if response.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = response.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_orders_are_listed_oldest_first_once_a_second_has_passed() {
    let sale = Sale::start("settled_orders").await;
    let clients = sale.clients();
    let product_id = sale.product(100).await;
    let start = Timestamp::default();
    let mut expected = Vec::new();
    for number in 0..7 {
        let order = sale.ordered(product_id, 1).await;
        if number % 3 == 0 {
            clients.cancel(order.order_id).await.unwrap();
        } else {
            clients.pay(&format!("k{number}"), order.order_id, PaymentStatus::Success).await.unwrap();
        }
        expected.push(order.order_id);
    }
    sale.ordered(product_id, 1).await;
    wait::eventually(LIMIT, "all settled orders", async || {
        settled(clients, product_id, start).await.unwrap().len() == expected.len()
    })
    .await;
    let listed = settled(clients, product_id, start).await.unwrap();
    assert_eq!(listed.iter().map(|order| order.order_id).collect::<Vec<_>>(), expected);
    for (index, order) in listed.iter().enumerate() {
        let rest = settled(clients, product_id, order.settled_at.unwrap()).await.unwrap();
        assert_eq!(rest, listed[index + 1..], "from where a reader was");
    }
    sale.finish().await;
}

/// An order whose transaction is open has an earlier settled_at than orders that are visible already. A reader is not told
/// of those before the open one is over, and locks and waits for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_settled_orders_misses_none_of_a_transaction_that_is_still_open() {
    let sale = Sale::start("settled_in_an_open_transaction").await;
    let clients = sale.clients();
    let product_id = sale.product(100).await;
    let [early, slow, quick] = [
        sale.ordered(product_id, 1).await.order_id,
        sale.ordered(product_id, 1).await.order_id,
        sale.ordered(product_id, 1).await.order_id,
    ];
    clients.pay("early", early, PaymentStatus::Success).await.unwrap();
    let mut transaction = sale.database.connect().await;
    transaction.execute("BEGIN").await;
    let settle = "UPDATE orders SET status = 'paid', settled_by = 'payment', settled_at = SYSDATE(6) WHERE id =";
    transaction.execute(&format!("{settle} {slow}")).await;
    clients.pay("quick", quick, PaymentStatus::Success).await.unwrap();
    let older = "SELECT COUNT(*) FROM orders WHERE settled_at < UTC_TIMESTAMP(6) - INTERVAL 1 SECOND";
    wait::eventually(LIMIT, "a second", async || sale.database.query_i64(older).await == 2).await;
    let listed = async || {
        let listed = settled(clients, product_id, Timestamp::default()).await.unwrap();
        listed.iter().map(|order| order.order_id).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [early]);
    // The reader has locked nothing: an event for an order that it has read is handled at once.
    clients.pay("again", early, PaymentStatus::Success).await.unwrap();
    transaction
        .execute(&format!(
            "INSERT INTO payment_webhooks (idempotency_key, order_id, product_id, status, order_status, result, \
             created_at) VALUES ('slow', {slow}, {product_id}, 'success', 'paid', 'applied', UTC_TIMESTAMP(6))"
        ))
        .await;
    transaction.execute("COMMIT").await;
    transaction.close().await;
    assert_eq!(listed().await, [early, slow, quick]);
    sale.finish().await;
}

/// Somebody's console has locked a gap of an index: the order's row waits for it after its settled_at was taken, and isn't
/// in the index that a reader goes by. Such an order is settled anew, with a later time.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_row_comes_late_has_a_later_settled_at() {
    let sale = Sale::start("settled_late").await;
    let clients = sale.clients();
    let product_id = sale.product(100).await;
    let costly = sale.ordered(product_id, 1).await.order_id;
    let free = CreateProductRequest { price_cents: 0, ..product(10) };
    let free = clients.try_create_product(free).await.unwrap().product_id;
    let held = clients.hold(free, 1).await.unwrap().hold_id;
    for (product_id, is_free) in [(product_id, false), (free, true)] {
        let mut console = sale.database.connect().await;
        console.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
        console.execute("BEGIN").await;
        let gap = "SELECT id FROM orders FORCE INDEX (orders_product_due) WHERE status = 'paid' AND product_id =";
        console.query_rows(&format!("{gap} {product_id} FOR UPDATE")).await;
        let settle = async {
            if is_free {
                return clients.order(held).await.unwrap().order_id;
            }
            clients.pay("k", costly, PaymentStatus::Success).await.unwrap();
            costly
        };
        let release = async {
            sale.database.wait_for_waiter().await;
            // Longer than a row may come late, and shorter than a lock is waited for.
            wait::until(std::time::Instant::now() + Duration::from_millis(700)).await;
            let now = sale.database.query_rows("SELECT UTC_TIMESTAMP(6)").await[0][0].clone();
            console.execute("COMMIT").await;
            now
        };
        let (order_id, released_at) = tokio::join!(settle, release);
        let late = format!("SELECT COUNT(*) FROM orders WHERE id = {order_id} AND settled_at >= '{released_at}'");
        assert_eq!(sale.database.query_i64(&late).await, 1, "is_free {is_free}");
        console.close().await;
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_listed_with_what_can_be_held_of_them() {
    let sale = Sale::start("a_list_of_products").await;
    let clients = sale.clients();
    let first = sale.product(10).await;
    let paused = sale.product(20).await;
    let last = sale.product(30).await;
    clients.pause(paused, true).await.unwrap();
    clients.hold(first, 4).await.unwrap();
    clients.hold(last, 5).await.unwrap();
    sale.database.move_times(&format!("UPDATE holds SET expires_at = '2000-01-01' WHERE product_id = {last}")).await;
    let list = async |on_sale| {
        let request = ListProductsRequest { on_sale, ..Default::default() };
        let all: Vec<Product> = all_pages!(clients, list_products, products, request.clone(), 1);
        assert_eq!(all_pages!(clients, list_products, products, request, 500), all);
        all.into_iter().map(|product| (product.product_id, product.available_stock)).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, [(last, 30), (paused, 20), (first, 6)]);
    assert_eq!(list(Some(true)).await, [(last, 30), (first, 6)]);
    assert_eq!(list(Some(false)).await, [(paused, 20)]);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_events_are_listed_by_order_and_by_key() {
    let sale = Sale::start("a_list_of_events").await;
    let clients = sale.clients();
    let product_id = sale.product(10).await;
    let (order, other) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    clients.pay("other", other.order_id, PaymentStatus::Success).await.unwrap();
    clients.pay("attempt", order.order_id, PaymentStatus::AttemptFailed).await.unwrap();
    let mut paying = event("paid", order.order_id, PaymentStatus::Success, Some(1000));
    paying.payment_id = Some("pi_7".to_owned());
    clients.pay_by(paying).await.unwrap();
    clients.pay("again", order.order_id, PaymentStatus::Success).await.unwrap();
    let of_order = ListPaymentEventsRequest { order_id: Some(order.order_id), ..Default::default() };
    let events = all_pages!(clients, list_payment_events, events, of_order.clone(), 1);
    assert_eq!(all_pages!(clients, list_payment_events, events, of_order, 500), events);
    let results: Vec<_> = events.iter().map(|event| (event.idempotency_key.as_str(), event.result())).collect();
    assert_eq!(
        results,
        [
            ("again", PaymentEventResult::DuplicateSuccess),
            ("paid", PaymentEventResult::Applied),
            ("attempt", PaymentEventResult::AttemptFailed)
        ]
    );
    let paid = &events[1];
    assert_eq!((paid.payment_id.as_deref(), paid.amount_cents), (Some("pi_7"), Some(1000)));
    assert_eq!((paid.status(), paid.order_status()), (PaymentStatus::Success, OrderStatus::Paid));
    let by_key = ListPaymentEventsRequest { idempotency_key: Some("paid".to_owned()), ..Default::default() };
    assert_eq!(all_pages!(clients, list_payment_events, events, by_key, 1), std::slice::from_ref(paid));
    for bad in [
        ListPaymentEventsRequest::default(),
        ListPaymentEventsRequest {
            order_id: Some(order.order_id),
            idempotency_key: Some("paid".to_owned()),
            ..Default::default()
        },
    ] {
        let refused = clients.admin.clone().list_payment_events(bad).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), ["order_id"]);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_list_or_filter_is_refused() {
    let sale = Sale::start("tokens_of_other_lists").await;
    let mut admin = sale.clients().admin.clone();
    let product_id = sale.product(10).await;
    for _ in 0..2 {
        sale.clients().hold(product_id, 1).await.unwrap();
    }
    let request = ListHoldsRequest { product_id, page_size: 1, ..Default::default() };
    let page_token = admin.list_holds(request.clone()).await.unwrap().into_inner().next_page_token;
    assert!(!page_token.is_empty());
    let bad_token = |status: Status| assert_eq!(bad_fields(&status), ["page_token"]);
    let other_filter =
        ListHoldsRequest { status: HoldStatus::Active.into(), page_token: page_token.clone(), ..request.clone() };
    bad_token(admin.list_holds(other_filter).await.unwrap_err());
    let of_buyer =
        ListHoldsRequest { buyer_id: Some("ann".to_owned()), page_token: page_token.clone(), ..request.clone() };
    bad_token(admin.list_holds(of_buyer).await.unwrap_err());
    let other_list = ListOrdersRequest { product_id, page_token: page_token.clone(), ..Default::default() };
    bad_token(admin.list_orders(other_list).await.unwrap_err());
    let products = ListProductsRequest { page_token: page_token.clone(), ..Default::default() };
    bad_token(admin.list_products(products).await.unwrap_err());
    let next = ListHoldsRequest { page_token, page_size: 7, ..request };
    assert_eq!(admin.list_holds(next).await.unwrap().into_inner().holds.len(), 1, "another size is the same list");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_listed_is_named() {
    let sale = Sale::start("bad_lists").await;
    let mut admin = sale.clients().admin.clone();
    let holds = ListHoldsRequest { page_size: -1, status: 9, buyer_id: Some(" ".to_owned()), ..Default::default() };
    let status = admin.list_holds(holds).await.unwrap_err();
    assert_eq!(bad_fields(&status), ["product_id", "buyer_id", "status", "page_size"]);
    let orders = ListOrdersRequest {
        product_id: 1,
        overdue: Some(true),
        status: OrderStatus::Paid.into(),
        settled_after: Some(Timestamp::default()),
        ..Default::default()
    };
    assert_eq!(bad_fields(&admin.list_orders(orders).await.unwrap_err()), ["status", "settled_after"]);
    sale.finish().await;
}

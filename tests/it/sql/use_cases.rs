//! Runs each use case, in the ways in which it sends different statements.

use std::time::{Duration, UNIX_EPOCH};

use flashsale::{
    checkout::{
        cancel_overdue_orders::{cancel_overdue_orders, cancel_overdue_orders_of},
        expire_holds::{expire_holds, expire_holds_of},
        purge::{PurgeRule, database_time, ended_products, purge_holds, purge_product},
        repair_available_stock::repair_available_stock,
    },
    config::Account,
    db::{Connection, Database, due::SweepScope, purge::PurgeScope, sale_figures},
    domain::{self, ProductId},
    pb::{
        AcceptPaymentRequest, CreateProductRequest, HandlePaymentWebhookRequest, HoldStatus, ListHoldsRequest,
        ListOperatorActionsRequest, ListOrdersRequest, ListPaymentEventsRequest, ListPaymentExceptionsRequest,
        ListProductsRequest, OrderStatus, PaymentStatus, Product,
    },
};

use super::{
    recorder::Recorder,
    shop::{LIMITED, QUIET, SOLD_OUT},
};
use crate::support::{
    audit::DEFAULT_PAGE,
    client::Clients,
    database::TestDatabase,
    sale::{event, hold, hold_of, product, repeatable_hold, repeatable_order},
    server::database_config,
    wait,
};

const LIMIT: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How many rows a sweep takes at once here: the golden text shows a script for each product.
const BATCH: usize = 2;
/// From how many holds on the server remembers how far it has counted a buyer's holds, and twice as many.
const BOX_OFFICE_HOLDS: usize = 200;

/// Runs what an operator does.
pub(super) async fn operate(recorder: &mut Recorder, clients: &Clients) {
    let request = CreateProductRequest { request_id: Some("sock".to_owned()), ..product(10) };
    let call = clients.try_create_product(request.clone());
    recorder.record("create_product", "A new product", call).await.unwrap();
    let call = clients.try_create_product(request);
    recorder.record("create_product", "A repeat", call).await.unwrap();
    let cheaper = Product { product_id: QUIET, price_cents: 900, ..Default::default() };
    recorder.record("update_product", "A new price", clients.update(cheaper, &["price_cents"])).await.unwrap();
    recorder.record("adjust_stock", "More units", clients.adjust(QUIET, 5, "pallet")).await.unwrap();
    recorder.record("adjust_stock", "A repeat", clients.adjust(QUIET, 5, "pallet")).await.unwrap();
    recorder.record("get_sale_stats", "Any product", clients.stats(QUIET)).await.unwrap();
    for (heading, product_id, include_resolved) in [
        ("What is open", None, None),
        ("All", None, Some(true)),
        ("What is open, of a product", Some(2), None),
        ("All of a product", Some(2), Some(true)),
    ] {
        let request = ListPaymentExceptionsRequest { product_id, include_resolved, ..Default::default() };
        recorder.record("list_payment_exceptions", heading, clients.exceptions_by(request)).await.unwrap();
    }
    for (heading, product_id) in [("All", None), ("Of a product", Some(QUIET))] {
        let request = ListOperatorActionsRequest { product_id, ..Default::default() };
        let mut admin = clients.admin.clone();
        let call = async { admin.list_operator_actions(request).await };
        recorder.record("list_operator_actions", heading, call).await.unwrap();
    }
    let open = clients.exceptions().await[0].exception_id;
    recorder.record("resolve_payment_exception", "An open one", clients.resolve(open, "refunded")).await.unwrap();
}

/// Runs CreateHold by its three ways: locked, optimistic, unlocked.
pub(super) async fn create_holds(recorder: &mut Recorder, clients: &Clients) {
    let on_sale = clients.try_create_product(product(10)).await.unwrap().product_id;
    for (heading, request) in [
        ("Nothing is known of the product: locked", hold(on_sale, 1)),
        ("The product is known to sell: optimistic", repeatable_hold(on_sale, 1, "mine")),
        ("A repeat: optimistic, which fails, then locked", repeatable_hold(on_sale, 1, "mine")),
        ("The product is known to refuse, but has units: unlocked, then locked", hold(on_sale, 1)),
    ] {
        recorder.record("create_hold", heading, clients.hold_by(request)).await.unwrap();
    }
    for heading in [
        "More than there is: optimistic, which fails, then locked",
        "More than there is, of a product that is known to refuse: unlocked",
    ] {
        recorder.record("create_hold", heading, clients.hold(on_sale, 9)).await.unwrap_err();
    }
    for (heading, qty) in [
        ("Too few units, but expired holds: locked", 1),
        ("Too few units, but overdue orders: optimistic, which fails, then locked", 100),
    ] {
        recorder.record("create_hold", heading, clients.hold(SOLD_OUT, qty)).await.unwrap();
    }
    // Buyer 100 has only expired holds of the product, buyer 80 none that counts, and buyer 40 more than the limit.
    for (heading, buyer) in [
        ("A limit for each buyer, and a buyer with expired holds: locked", "buyer100"),
        ("A limit for each buyer: optimistic", "buyer80"),
    ] {
        recorder.record("create_hold", heading, clients.hold_by(hold_of(buyer, LIMITED, 1))).await.unwrap();
    }
    for heading in [
        "A buyer over the limit: optimistic, which fails, then locked",
        "A buyer over the limit, of a product that is known to refuse: unlocked",
    ] {
        recorder.record("create_hold", heading, clients.hold_by(hold_of("buyer40", LIMITED, 1))).await.unwrap_err();
    }
}

/// Runs CreateHold for a buyer with so many holds that only later ones are counted.
pub(super) async fn create_holds_of_a_box_office(recorder: &mut Recorder, clients: &Clients) {
    let holds = i32::try_from(BOX_OFFICE_HOLDS).unwrap();
    let request = CreateProductRequest { max_per_buyer: Some(10 * holds), ..product(i64::from(20 * holds)) };
    let limited = clients.try_create_product(request).await.unwrap().product_id;
    for _ in 0..BOX_OFFICE_HOLDS {
        clients.hold_by(hold_of("box", limited, 1)).await.unwrap();
    }
    // The server counts anew after a number of batches and by the clock.
    let calls = async {
        for _ in 0..2 * BOX_OFFICE_HOLDS {
            clients.hold_by(hold_of("box", limited, 1)).await.unwrap();
        }
    };
    recorder
        .record_kinds("create_hold", "A buyer with many holds: each kind of statement that many calls send", calls)
        .await;
}

/// Runs the rest of what buyers do, and the payment provider's events.
pub(super) async fn buy(recorder: &mut Recorder, clients: &Clients) {
    recorder.record("get_product", "A product whose name isn't known yet", clients.product(QUIET)).await.unwrap();
    recorder.record("get_product", "A product whose name is known", clients.product(QUIET)).await.unwrap();
    let held = clients.hold(QUIET, 1).await.unwrap().hold_id;
    recorder.record("get_hold", "Any hold", clients.get_hold(held)).await.unwrap();
    recorder.record("release_hold", "An active hold", clients.release(held)).await.unwrap();
    let [held, other] = [clients.hold(QUIET, 1).await.unwrap().hold_id, clients.hold(QUIET, 1).await.unwrap().hold_id];
    let request = repeatable_order(held, "mine");
    let order = recorder.record("create_order", "An active hold", clients.order_by(request.clone())).await.unwrap();
    recorder.record("create_order", "A repeat", clients.order_by(request)).await.unwrap();
    recorder.record("get_order", "Any order", clients.get_order(order.order_id)).await.unwrap();
    let failed = clients.order(other).await.unwrap().order_id;
    let unwanted = clients.hold(QUIET, 1).await.unwrap().hold_id;
    let unwanted = clients.order(unwanted).await.unwrap().order_id;
    recorder.record("cancel_order", "A pending order", clients.cancel(unwanted)).await.unwrap();
    recorder.record("cancel_order", "A repeat", clients.cancel(unwanted)).await.unwrap();
    for (heading, order_id, key, status) in [
        ("A success", order.order_id, "one", PaymentStatus::Success),
        ("A success that came twice", order.order_id, "two", PaymentStatus::Success),
        ("A failure", failed, "three", PaymentStatus::Failure),
        ("A success after the cancellation", failed, "four", PaymentStatus::Success),
        ("A repeat", failed, "four", PaymentStatus::Success),
    ] {
        recorder.record("handle_payment_webhook", heading, clients.pay(key, order_id, status)).await.unwrap();
    }
    let held = clients.hold(QUIET, 1).await.unwrap().hold_id;
    let order_id = clients.order(held).await.unwrap().order_id;
    let payment_id = Some("pi_1".to_owned());
    let success = HandlePaymentWebhookRequest { payment_id, ..event("five", order_id, PaymentStatus::Success, None) };
    let call = clients.pay_by(success);
    recorder.record("handle_payment_webhook", "A success with a payment_id", call).await.unwrap();
}

/// Runs the lists of the support desk, and what an operator does about a payment of another amount.
pub(super) async fn support(recorder: &mut Recorder, clients: &Clients) {
    let mut admin = clients.admin.clone();
    let call = async { admin.list_products(ListProductsRequest::default()).await };
    recorder.record("list_products", "All", call).await.unwrap();
    let holds = || ListHoldsRequest { product_id: LIMITED, page_size: 1, ..Default::default() };
    let page_token = admin.list_holds(holds()).await.unwrap().into_inner().next_page_token;
    for (heading, request) in [
        ("All of a product", holds()),
        ("The next page", ListHoldsRequest { page_token, ..holds() }),
        ("Those in one state", ListHoldsRequest { status: HoldStatus::Used.into(), ..holds() }),
        ("Those of a buyer", ListHoldsRequest { buyer_id: Some("buyer40".to_owned()), ..holds() }),
    ] {
        recorder.record("list_holds", heading, async { admin.list_holds(request).await }).await.unwrap();
    }
    let orders = || ListOrdersRequest { product_id: LIMITED, page_size: 1, ..Default::default() };
    let page_token = admin.list_orders(orders()).await.unwrap().into_inner().next_page_token;
    let settled_after = Some(prost_types::Timestamp::default());
    for (heading, request) in [
        ("All of a product", orders()),
        ("The next page", ListOrdersRequest { page_token, ..orders() }),
        ("Those in one state", ListOrdersRequest { status: OrderStatus::Paid.into(), ..orders() }),
        ("Those that are overdue", ListOrdersRequest { overdue: Some(true), ..orders() }),
        ("Those of a buyer", ListOrdersRequest { buyer_id: Some("buyer40".to_owned()), ..orders() }),
        ("Those settled after a time", ListOrdersRequest { settled_after, ..orders() }),
    ] {
        recorder.record("list_orders", heading, async { admin.list_orders(request).await }).await.unwrap();
    }
    let held = clients.hold(QUIET, 1).await.unwrap().hold_id;
    let order_id = clients.order(held).await.unwrap().order_id;
    clients.pay_by(event("a cent off", order_id, PaymentStatus::Success, Some(1))).await.unwrap();
    for (heading, request) in [
        ("Of an order", ListPaymentEventsRequest { order_id: Some(order_id), ..Default::default() }),
        (
            "With a key",
            ListPaymentEventsRequest { idempotency_key: Some("a cent off".to_owned()), ..Default::default() },
        ),
    ] {
        let call = async { admin.list_payment_events(request).await };
        recorder.record("list_payment_events", heading, call).await.unwrap();
    }
    let exception_id = clients.exceptions().await[0].exception_id;
    let accept = AcceptPaymentRequest { exception_id, note: "a cent off".to_owned() };
    let call = async { admin.accept_payment(accept).await };
    recorder.record("accept_payment", "A payment of another amount", call).await.unwrap();
}

/// Runs what nobody calls: the sweeps, the audit, and what a read takes back beside it.
pub(super) async fn clean_up(recorder: &mut Recorder, database: &TestDatabase, clients: &Clients) {
    let read_and_wait = async {
        clients.product(4).await.unwrap();
        let lapsed =
            "SELECT COUNT(*) FROM holds WHERE product_id = 4 AND status = 'active' AND expires_at < SYSDATE(6)";
        wait::eventually(LIMIT, "holds that are taken back", async || database.query_i64(lapsed).await == 0).await;
        database.assert_no_open_transactions().await;
    };
    recorder.record("take_back", "A read of a product with units past their time", read_and_wait).await;
    let program = |account| Database::new(&database_config(&database.url_for(account), 1)).unwrap();
    let sweeper = program(Account::Sweeper);
    // Its session is there after the first sweep.
    let swept = expire_holds(&sweeper, UNIX_EPOCH, BATCH).await.unwrap();
    recorder.record("expire_holds", "Whether a product is being sold", swept.is_being_sold(&sweeper)).await.unwrap();
    let (of, since) = (SweepScope::Product(ProductId::stored(LIMITED)), UNIX_EPOCH.into());
    let all = expire_holds(&sweeper, UNIX_EPOCH, BATCH);
    recorder.record("expire_holds", "Any product", all).await.unwrap();
    let one = expire_holds_of(&sweeper, of, since, BATCH);
    recorder.record("expire_holds", "A busy product by itself", one).await.unwrap();
    let all = cancel_overdue_orders(&sweeper, UNIX_EPOCH, BATCH);
    recorder.record("cancel_overdue_orders", "Any product", all).await.unwrap();
    let one = cancel_overdue_orders_of(&sweeper, of, since, BATCH);
    recorder.record("cancel_overdue_orders", "A busy product by itself", one).await.unwrap();
    let read = async |conn: &mut Connection, _attempt| sale_figures::read(conn).await;
    recorder
        .record("sale_figures", "A page of metrics", program(Account::Server).read("sale_figures", read))
        .await
        .unwrap();
    recorder.record("audit", "All tables in one page each", database.audit(DEFAULT_PAGE, false)).await;
    database.execute(&format!("UPDATE products SET available_stock = available_stock - 1 WHERE id = {QUIET}")).await;
    let repairer = program(Account::Repairer);
    let repair = repair_available_stock(&repairer, ProductId::stored(QUIET));
    recorder.record("repair_available_stock", "A product whose stock is off", repair).await.unwrap();
}

/// Runs a purge: of a few old holds, and of a sale that is over.
pub(super) async fn purge(recorder: &mut Recorder, database: &TestDatabase, clients: &Clients) {
    let over = clients.try_create_product(product(10)).await.unwrap().product_id;
    let held = clients.hold(over, 1).await.unwrap().hold_id;
    let order = clients.order(held).await.unwrap().order_id;
    clients.pay("sold", order, PaymentStatus::Success).await.unwrap();
    clients.pay("sold, too", order, PaymentStatus::Success).await.unwrap();
    let exception = clients.exceptions().await[0].exception_id;
    clients.resolve(exception, "refunded").await.unwrap();
    clients.adjust(over, 5, "pallet").await.unwrap();
    database.execute(&format!("UPDATE products SET ends_at = UTC_TIMESTAMP(6) WHERE id = {over}")).await;

    let purger = Database::new(&database_config(&database.url_for(Account::Purger), 1)).unwrap();
    let today = database_time(&purger).await.unwrap();
    recorder.record("purge", "The time", database_time(&purger)).await.unwrap();
    // Everything is older than tomorrow.
    let rule = PurgeRule { before: today + DAY, dry_run: false };
    let since = UNIX_EPOCH.into();
    for (heading, status) in [
        ("Expired holds of any product", domain::HoldStatus::Expired),
        ("Cancelled holds of any product, some with an order", domain::HoldStatus::Cancelled),
    ] {
        let batch = purge_holds(&purger, rule, PurgeScope::AllProducts(status), since, BATCH);
        recorder.record("purge", heading, batch).await.unwrap();
    }
    let dry = PurgeRule { dry_run: true, ..rule };
    let cancelled = PurgeScope::AllProducts(domain::HoldStatus::Cancelled);
    recorder.record("purge", "A dry run", purge_holds(&purger, dry, cancelled, since, BATCH)).await.unwrap();
    recorder.record("purge", "Sales that have ended", ended_products(&purger, rule, 0, BATCH)).await.unwrap();
    let over = ProductId::stored(over);
    let sold = purge_holds(&purger, rule, PurgeScope::Sold(over), since, BATCH);
    let sold = recorder.record("purge", "The sold units of a sale that is over", sold).await.unwrap();
    assert_eq!((sold.rows.orders, sold.rows.events, sold.rows.exceptions, sold.rows.adjustments), (1, 2, 1, 1));
    let gone = purge_product(&purger, rule, over);
    let gone = recorder.record("purge", "A product without any other row", gone).await.unwrap();
    assert_eq!(gone.products, 1);
}

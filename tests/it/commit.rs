//! Loses, drops or delays a COMMIT: each ends with exactly one effect, and the caller hears of it.

mod new_at_most_once;
mod operators;

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::{
        Checkout, CreateHold, cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds,
        request_id_or_made_up,
    },
    config::Account,
    db::Database,
    domain::{ProductId, Quantity},
    pb::{CreateHoldRequest, CreateOrderRequest, CreateProductRequest, HoldStatus, OrderStatus, PaymentStatus},
};
use futures_util::future::join_all;
use tonic::Code;

use crate::support::{
    client::{Clients, assert_refused},
    database::TestDatabase,
    mysqld::as_account,
    proxy::Proxy,
    server::{TestServer, database_config, default_settings},
    wait,
};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Says what happens to the first COMMIT of a call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The database carries the COMMIT out, and the connection breaks before the answer.
    AnswerLost,
    /// The connection breaks before the COMMIT reaches the database.
    RequestLost,
    /// The connection breaks, and the old session keeps its locks. The COMMIT reaches it when the call is over.
    Late,
}

const FAULTS: [Fault; 3] = [Fault::AnswerLost, Fault::RequestLost, Fault::Late];

/// The faults that holds may meet, each with whether their product is known to sell.
///
/// If it is, the holds are sent as one script without a read.
fn faults_of_holds() -> impl Iterator<Item = (Fault, bool)> {
    FAULTS.into_iter().flat_map(|fault| [(fault, false), (fault, true)])
}

/// Runs a server, or a sweep, that reaches its database through a proxy.
struct Ground {
    database: TestDatabase,
    proxy: Proxy,
    server: TestServer,
}

impl Ground {
    async fn start(name: &str) -> Self {
        let database = TestDatabase::create(name).await;
        let proxy = Proxy::start(database.port()).await;
        let server = TestServer::start_with(&database.url_at(proxy.port()), default_settings()).await;
        Self { database, proxy, server }
    }

    fn clients(&self) -> &Clients {
        &self.server.clients
    }

    /// Runs a call whose first COMMIT meets `fault`.
    async fn under<T>(&self, fault: Fault, call: impl Future<Output = T>) -> T {
        match fault {
            Fault::AnswerLost => self.proxy.lose_next_commit_answer(),
            Fault::RequestLost => self.proxy.drop_next_commit_request(),
            Fault::Late => self.proxy.hold_back_next_commit(),
        }
        let answer = call.await;
        assert!(!self.proxy.is_waiting_for_commit(), "{fault:?} met no COMMIT");
        if let Fault::Late = fault {
            self.proxy.deliver_held_back_commit().await;
        }
        answer
    }

    async fn count(&self, what: &str) -> i64 {
        self.database.query_i64(&format!("SELECT COUNT(*) FROM {what}")).await
    }

    async fn finish(self) {
        self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
    }

    /// Opens the database through the proxy as the sweeper does.
    fn sweeper_database(&self) -> Database {
        self.database_of(Account::Sweeper)
    }

    /// Opens the database through the proxy as the programs of `account` do.
    fn database_of(&self, account: Account) -> Database {
        Database::new(&database_config(&as_account(account, &self.proxied_url()), 2)).unwrap()
    }

    fn proxied_url(&self) -> String {
        self.database.url_at(self.proxy.port())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_made_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_hold").await;
    for (fault, is_known) in faults_of_holds() {
        for request_id in [None, Some("mine".to_owned())] {
            let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
            let mut stored = Vec::new();
            if is_known {
                stored.push([ground.clients().hold(product_id, 1).await.unwrap().hold_id.to_string()]);
            }
            let request = CreateHoldRequest { product_id, qty: 3, request_id, ..Default::default() };
            let hold = ground.under(fault, ground.clients().hold_by(request.clone())).await;
            let hold = hold.unwrap_or_else(|status| panic!("{fault:?} {is_known} {request:?}: {status:?}"));
            assert_eq!((hold.qty, hold.status()), (3, HoldStatus::Active));
            assert_eq!(
                ground.clients().get_hold(hold.hold_id).await.unwrap(),
                hold,
                "{fault:?} {is_known} {request:?}"
            );
            stored.push([hold.hold_id.to_string()]);
            let sql = format!("SELECT id FROM holds WHERE product_id = {product_id} ORDER BY id");
            assert_eq!(ground.database.query_rows(&sql).await, stored, "{fault:?} {is_known} {request:?}");
            let left = 7 - i64::from(is_known);
            assert_eq!(ground.clients().available_stock(product_id).await, left, "{fault:?} {is_known} {request:?}");
            if request.request_id.is_some() {
                assert_eq!(ground.clients().hold_by(request).await.unwrap(), hold, "a repeat after all that");
            }
        }
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_made_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_order").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 100).await.product_id;
    for fault in FAULTS {
        for request_id in [None, Some("mine".to_owned())] {
            let hold_id = ground.clients().hold(product_id, 2).await.unwrap().hold_id;
            let request = CreateOrderRequest { hold_id, request_id: request_id.clone(), ..Default::default() };
            let order = ground.under(fault, ground.clients().order_by(request.clone())).await;
            let order = order.unwrap_or_else(|status| panic!("{fault:?} {request_id:?}: {status:?}"));
            assert_eq!((order.hold_id, order.status(), order.amount_cents), (hold_id, OrderStatus::Pending, 2000));
            let stored = format!("SELECT id FROM orders WHERE hold_id = {hold_id}");
            assert_eq!(ground.database.query_rows(&stored).await, [[order.order_id.to_string()]], "{fault:?}");
            if request_id.is_some() {
                assert_eq!(ground.clients().order_by(request).await.unwrap(), order, "a repeat after all that");
            }
        }
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_counts_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_payment").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 100).await.product_id;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        for (status, settled) in
            [(PaymentStatus::Success, OrderStatus::Paid), (PaymentStatus::Failure, OrderStatus::Cancelled)]
        {
            let hold_id = ground.clients().hold(product_id, 2).await.unwrap().hold_id;
            let order_id = ground.clients().order(hold_id).await.unwrap().order_id;
            let before = ground.clients().available_stock(product_id).await;
            let key = format!("key {number} {status:?}");
            let answer = ground.under(fault, ground.clients().pay(&key, order_id, status)).await;
            let answer = answer.unwrap_or_else(|status| panic!("{fault:?} {status:?}"));
            assert_eq!((answer.order_status(), answer.refund_required), (settled, false), "{fault:?}");
            // Another server may have stored an event that is found.
            assert_eq!(answer.first_time, !matches!(fault, Fault::AnswerLost), "{fault:?} {status:?}");
            assert_eq!(ground.count(&format!("payment_webhooks WHERE order_id = {order_id}")).await, 1, "{fault:?}");
            assert_eq!(ground.clients().get_order(order_id).await.unwrap().status(), settled, "{fault:?}");
            let given_back = if settled == OrderStatus::Cancelled { 2 } else { 0 };
            assert_eq!(ground.clients().available_stock(product_id).await, before + given_back, "{fault:?}");
            let repeat = ground.clients().pay(&key, order_id, status).await.unwrap();
            assert!(!repeat.first_time, "{fault:?} {status:?}: a repeat after all that");
        }
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_gives_back_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_release").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
    for fault in FAULTS {
        // A second release could give these units back in error.
        let _other = ground.clients().hold(product_id, 1).await.unwrap();
        let before = ground.clients().available_stock(product_id).await;
        let hold_id = ground.clients().hold(product_id, 1).await.unwrap().hold_id;
        let released = ground.under(fault, ground.clients().release(hold_id)).await.unwrap();
        assert_eq!(released.status(), HoldStatus::Cancelled, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, before, "{fault:?}");
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_gives_back_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_cancel").await;
    for fault in FAULTS {
        let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
        // A second cancellation could give these units back in error.
        let _other = ground.clients().hold(product_id, 2).await.unwrap();
        let hold = ground.clients().hold(product_id, 3).await.unwrap();
        let order = ground.clients().order(hold.hold_id).await.unwrap();
        let cancelled = ground.under(fault, ground.clients().cancel(order.order_id)).await.unwrap();
        assert_eq!(cancelled.status(), OrderStatus::Cancelled, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, 8, "{fault:?}");
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_put_on_sale_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_product").await;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        for request_id in [None, Some(format!("mine{number}"))] {
            let name = format!("Shoe {fault:?} {request_id:?}");
            let request = CreateProductRequest {
                name: name.clone(),
                price_cents: 1000,
                total_stock: 5,
                request_id: request_id.clone(),
                ..Default::default()
            };
            let product = ground.under(fault, ground.clients().try_create_product(request)).await.unwrap();
            let stored = format!("SELECT id FROM products WHERE name = '{name}'");
            assert_eq!(ground.database.query_rows(&stored).await, [[product.product_id.to_string()]], "{fault:?}");
        }
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_gives_back_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_sweep").await;
    let sweeper = ground.sweeper_database();
    let product_id = ground.clients().create_product("Shoe", 1000, 100).await.product_id;
    for fault in FAULTS {
        for _ in 0..5 {
            ground.clients().hold(product_id, 2).await.unwrap();
        }
        let sql = "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'active'";
        ground.database.move_times(sql).await;
        let swept = ground.under(fault, expire_holds(&sweeper, UNIX_EPOCH, 100)).await.unwrap();
        // Rows whose COMMIT got no answer are in the totals, and not in the report.
        let reported = if matches!(fault, Fault::AnswerLost) { (0, 0) } else { (5, 10) };
        assert_eq!((swept.rows, swept.stock_released), reported, "{fault:?}");
        assert_eq!(ground.count("holds WHERE status <> 'expired'").await, 0, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, 100, "{fault:?}");
    }
    let totals = "SELECT holds_expired, stock_released FROM sweeper_state";
    assert_eq!(ground.database.query_rows(totals).await, [["15", "30"]]);
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_cancels_an_overdue_order_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_overdue").await;
    let sweeper = ground.sweeper_database();
    let product_id = ground.clients().create_product("Shoe", 1000, 100).await.product_id;
    for fault in FAULTS {
        for _ in 0..3 {
            let hold_id = ground.clients().hold(product_id, 2).await.unwrap().hold_id;
            ground.clients().order(hold_id).await.unwrap();
        }
        ground.database.move_times("UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND").await;
        let swept = ground.under(fault, cancel_overdue_orders(&sweeper, UNIX_EPOCH, 100)).await.unwrap();
        let reported = if matches!(fault, Fault::AnswerLost) { (0, 0) } else { (3, 6) };
        assert_eq!((swept.rows, swept.stock_released), reported, "{fault:?}");
        assert_eq!(ground.count("orders WHERE status <> 'cancelled'").await, 0, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, 100, "{fault:?}");
    }
    let totals = "SELECT orders_cancelled, stock_released FROM sweeper_state";
    assert_eq!(ground.database.query_rows(totals).await, [["9", "18"]]);
    ground.finish().await;
}

/// A payment for a cancelled order has to be refunded, and is written down once.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_payment_needs_one_refund_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_refund").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 100).await.product_id;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let hold_id = ground.clients().hold(product_id, 2).await.unwrap().hold_id;
        let order_id = ground.clients().order(hold_id).await.unwrap().order_id;
        ground.clients().pay(&format!("failed {number}"), order_id, PaymentStatus::Failure).await.unwrap();
        let key = format!("late {number}");
        let answer = ground.under(fault, ground.clients().pay(&key, order_id, PaymentStatus::Success)).await.unwrap();
        assert_eq!((answer.order_status(), answer.refund_required), (OrderStatus::Cancelled, true), "{fault:?}");
        assert_eq!(answer.first_time, !matches!(fault, Fault::AnswerLost), "{fault:?}");
        assert_eq!(ground.count(&format!("payment_exceptions WHERE order_id = {order_id}")).await, 1, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, 100, "{fault:?}");
    }
    ground.finish().await;
}

/// An expired hold and an overdue order go back once when CreateHold takes them back.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_takes_back_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_take_back").await;
    let other = TestServer::start(&ground.database).await;
    for fault in FAULTS {
        let product_id = ground.clients().create_product("Shoe", 1000, 5).await.product_id;
        // Another server makes the hold, so the server under test doesn't know that the product sells, and reads first.
        let expired = other.clients.hold(product_id, 2).await.unwrap().hold_id;
        let hold_id = other.clients.hold(product_id, 3).await.unwrap().hold_id;
        let overdue = ground.clients().order(hold_id).await.unwrap().order_id;
        for sql in [
            format!("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id = {expired}"),
            format!("UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id = {overdue}"),
        ] {
            ground.database.move_times(&sql).await;
        }
        let hold = ground.under(fault, ground.clients().hold(product_id, 4)).await.unwrap();
        let stored = format!("SELECT id, status FROM holds WHERE product_id = {product_id} ORDER BY id");
        let expected = [
            [expired.to_string(), "expired".to_owned()],
            [hold_id.to_string(), "cancelled".to_owned()],
            [hold.hold_id.to_string(), "active".to_owned()],
        ];
        assert_eq!(ground.database.query_rows(&stored).await, expected, "{fault:?}");
        assert_eq!(ground.clients().get_order(overdue).await.unwrap().status(), OrderStatus::Cancelled, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, 1, "{fault:?}");
    }
    other.stop().await;
    ground.finish().await;
}

/// The network is down, so nobody can end the old session, which keeps the product locked. The COMMIT may have
/// happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_unknown_outcome_is_unavailable_whatever_the_runs_after_it_meet() {
    let ground = Ground::start("commit_unknown").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
    let request_id = Some("mine".to_owned());
    let request = CreateHoldRequest { product_id, qty: 3, request_id, ..Default::default() };
    ground.proxy.hold_back_next_commit();
    let cut_off = async {
        wait::eventually(LIMIT, "the COMMIT", async || ground.proxy.holds_back_a_commit()).await;
        ground.proxy.cut();
    };
    let (lost, ()) = tokio::join!(ground.clients().hold_by(request.clone()), cut_off);
    assert_refused(lost, Code::Unavailable, "DATABASE_UNAVAILABLE");
    ground.proxy.deliver_held_back_commit().await;
    ground.proxy.heal();
    let hold = ground.clients().hold_by(request).await.unwrap();
    assert_eq!(ground.database.query_i64("SELECT id FROM holds").await, hold.hold_id);
    assert_eq!(ground.clients().available_stock(product_id).await, 7);
    ground.finish().await;
}

/// Each caller of a batch gets the hold that its own command made, also where the batch was found done.
///
/// On a runtime of one thread, calls that are joined form one batch.
#[tokio::test]
async fn a_batch_of_holds_is_made_once_and_each_caller_gets_its_own() {
    let ground = Ground::start("commit_batch").await;
    let checkout = Checkout::open(&database_config(&ground.proxied_url(), 4), default_settings()).unwrap();
    let hold = |product_id, qty| CreateHold {
        product_id: ProductId::stored(product_id),
        qty: Quantity::parse(qty).unwrap(),
        request_id: request_id_or_made_up(None),
        buyer_id: None,
        expected_unit_price_cents: None,
    };
    for (fault, is_known) in faults_of_holds() {
        let product_id = ground.clients().create_product("Shoe", 1000, 1000).await.product_id;
        if is_known {
            checkout.create_hold(hold(product_id, 1)).await.unwrap();
        }
        let calls = join_all((2..=20).map(|qty| checkout.create_hold(hold(product_id, qty))));
        let holds = ground.under(fault, calls).await;
        for (qty, made) in (2..).zip(holds) {
            let made = made.unwrap_or_else(|error| panic!("{fault:?} {is_known} {qty}: {error:?}"));
            assert_eq!(made.qty.get(), qty, "{fault:?} {is_known}");
            assert_eq!(checkout.get_hold(made.id).await.unwrap(), made, "{fault:?} {is_known}");
        }
        let stored = ground.count(&format!("holds WHERE product_id = {product_id}")).await;
        assert_eq!(stored, 19 + i64::from(is_known), "{fault:?} {is_known}");
    }
    checkout.close().await;
    ground.finish().await;
}

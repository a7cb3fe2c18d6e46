//! What a call did before its COMMIT's answer was lost is logged, counted and reported as its own, and once; what a
//! repeat by the caller finds is not.

use flashsale::pb::{CreateHoldRequest, CreateOrderRequest, PaymentStatus};
use serde_json::{Value, json};

use crate::support::{
    database::TestDatabase,
    programs::{ServerProgram, lines_of, sweep},
    proxy::Proxy,
    sale::{repeatable_hold, repeatable_order},
};

struct Shop {
    database: TestDatabase,
    proxy: Proxy,
    server: ServerProgram,
}

impl Shop {
    async fn open(name: &str) -> Self {
        let database = TestDatabase::create(name).await;
        let proxy = Proxy::start(database.port()).await;
        let server = ServerProgram::start(&database.url_at(proxy.port()), &[]).await;
        Self { database, proxy, server }
    }

    /// Runs a call whose COMMIT is carried out and whose answer to that is lost.
    async fn unheard<T>(&self, call: impl Future<Output = T>) -> T {
        self.proxy.lose_next_commit_answer();
        let answer = call.await;
        assert!(!self.proxy.is_waiting_for_commit(), "the call met no COMMIT");
        answer
    }

    async fn let_all_be_over(&self) {
        for sql in [
            "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'active'",
            "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'pending'",
        ] {
            self.database.move_times(sql).await;
        }
    }

    /// Returns what the server has logged.
    async fn close(self) -> Vec<Value> {
        let lines = self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
        lines
    }
}

/// The lines with this message have these values in this field, in this order.
fn assert_logged(lines: &[Value], message: &str, field: &str, expected: &[Value]) {
    let logged: Vec<Value> = lines_of(lines, message).iter().map(|line| line[field].clone()).collect();
    assert_eq!(logged, expected, "{field} of {message} in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_buyer_did_is_told_once_and_as_the_first_time() {
    let shop = Shop::open("told_buyer").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let hold: CreateHoldRequest = repeatable_hold(product_id, 2, "mine");
    let held = shop.unheard(clients.hold_by(hold.clone())).await.unwrap().hold_id;
    clients.hold_by(hold).await.unwrap();
    let order: CreateOrderRequest = repeatable_order(held, "mine");
    let order_id = shop.unheard(clients.order_by(order.clone())).await.unwrap().order_id;
    clients.order_by(order).await.unwrap();
    let mut first_times = Vec::new();
    for key in ["paid", "paid twice"] {
        first_times.push(shop.unheard(clients.pay(key, order_id, PaymentStatus::Success)).await.unwrap().first_time);
        first_times.push(clients.pay(key, order_id, PaymentStatus::Success).await.unwrap().first_time);
    }
    assert_eq!(first_times, [true, false, true, false]);
    let made_up = shop.unheard(clients.hold(product_id, 3)).await.unwrap().hold_id;
    shop.unheard(clients.release(made_up)).await.unwrap();
    clients.release(made_up).await.unwrap();

    let page = shop.server.metrics().await;
    for line in [
        r#"flashsale_holds_total{outcome="created"} 2"#,
        r#"flashsale_holds_total{outcome="replayed"} 1"#,
        r#"flashsale_webhooks_total{outcome="applied"} 1"#,
        r#"flashsale_webhooks_total{outcome="duplicate_success"} 1"#,
        r#"flashsale_webhooks_total{outcome="replayed"} 2"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    let lines = shop.close().await;
    assert_logged(&lines, "Hold created", "hold_id", &[json!(held), json!(made_up)]);
    assert_logged(&lines, "Order created", "order_id", &[json!(order_id)]);
    let results = ["applied", "replayed", "duplicate_success", "replayed"].map(Value::from);
    assert_logged(&lines, "Payment webhook handled", "result", &results);
    assert_logged(&lines, "Payment needs a refund", "idempotency_key", &[json!("paid twice")]);
    assert_logged(&lines, "Hold released", "hold_id", &[json!(made_up)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_did_is_told_once() {
    let shop = Shop::open("told_operator").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    shop.unheard(clients.adjust(product_id, 5, "r")).await.unwrap();
    clients.adjust(product_id, 5, "r").await.unwrap();
    let hold_id = clients.hold(product_id, 2).await.unwrap().hold_id;
    let order_id = clients.order(hold_id).await.unwrap().order_id;
    for key in ["paid", "paid twice"] {
        clients.pay(key, order_id, PaymentStatus::Success).await.unwrap();
    }
    let exception_id = clients.exceptions().await[0].exception_id;
    shop.unheard(clients.resolve(exception_id, "paid back")).await.unwrap();
    clients.resolve(exception_id, "paid back").await.unwrap();
    let lines = shop.close().await;
    assert_logged(&lines, "Stock adjusted", "delta", &[json!(5)]);
    assert_logged(&lines, "Payment exception resolved", "exception_id", &[json!(exception_id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hold_took_back_is_told_once() {
    let shop = Shop::open("told_take_back").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 5).await.product_id;
    let expired = clients.hold(product_id, 2).await.unwrap().hold_id;
    let hold_id = clients.hold(product_id, 3).await.unwrap().hold_id;
    let overdue = clients.order(hold_id).await.unwrap().order_id;
    shop.let_all_be_over().await;
    let granted = shop.unheard(clients.hold(product_id, 5)).await.unwrap().hold_id;
    // Also where all it does is to take back.
    shop.let_all_be_over().await;
    shop.unheard(clients.hold(product_id, 6)).await.unwrap_err();
    let lines = shop.close().await;
    assert_logged(&lines, "Hold expired and stock released", "hold_id", &[json!(expired), json!(granted)]);
    assert_logged(&lines, "Order cancelled: payment overdue", "order_id", &[json!(overdue)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sweep_did_is_told_once_and_reported() {
    let shop = Shop::open("told_sweep").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let url = shop.database.url_at(shop.proxy.port());
    let expired = clients.hold(product_id, 2).await.unwrap().hold_id;
    shop.let_all_be_over().await;
    let (code, of_hold, _) = shop.unheard(sweep(&url, &[])).await;
    assert_eq!(code, 0);
    let hold_id = clients.hold(product_id, 3).await.unwrap().hold_id;
    let overdue = clients.order(hold_id).await.unwrap().order_id;
    shop.let_all_be_over().await;
    let (code, of_order, _) = shop.unheard(sweep(&url, &[])).await;
    assert_eq!(code, 0);

    assert_logged(&of_hold, "Hold expired and stock released", "hold_id", &[json!(expired)]);
    assert_logged(&of_order, "Order cancelled: payment overdue", "order_id", &[json!(overdue)]);
    for (lines, report) in [(of_hold, [1, 1, 0, 2]), (of_order, [1, 0, 1, 3])] {
        let fields = ["batches", "holds_expired", "orders_cancelled", "stock_released"];
        let last = lines.last().unwrap();
        assert_eq!(fields.map(|field| last[field].as_i64()), report.map(Some), "{last}");
    }
    shop.close().await;
}

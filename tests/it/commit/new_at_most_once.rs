//! The effect of a COMMIT whose answer was lost is answered and logged as new at most once.
//!
//! Another server may have done what is found under a caller's own id. What is found under a request_id that the server
//! made up is the call's own.

use flashsale::pb::{CreateHoldRequest, CreateOrderRequest, PaymentStatus};
use serde_json::{Value, json};

use crate::support::{
    database::TestDatabase,
    programs::{ServerProgram, lines_of, sweep},
    proxy::Proxy,
    sale::{repeatable_hold, repeatable_order},
};

/// Says which part of a COMMIT is lost.
#[derive(Clone, Copy)]
enum Lost {
    Answer,
    Request,
}

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

    /// Runs a call whose COMMIT is carried out, and loses the answer to the COMMIT.
    async fn with_lost_answer<T>(&self, call: impl Future<Output = T>) -> T {
        self.with_lost(Lost::Answer, call).await
    }

    /// Runs a call whose COMMIT doesn't reach the database.
    async fn with_lost_request<T>(&self, call: impl Future<Output = T>) -> T {
        self.with_lost(Lost::Request, call).await
    }

    async fn with_lost<T>(&self, lost: Lost, call: impl Future<Output = T>) -> T {
        match lost {
            Lost::Answer => self.proxy.lose_next_commit_answer(),
            Lost::Request => self.proxy.drop_next_commit_request(),
        }
        let answer = call.await;
        assert!(!self.proxy.is_waiting_for_commit(), "the call met no COMMIT");
        answer
    }

    async fn let_all_expire(&self) {
        for sql in [
            "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'active'",
            "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'pending'",
        ] {
            self.database.move_times(sql).await;
        }
    }

    /// Stops the server, checks the tables, and returns what the server has logged.
    async fn close(self) -> Vec<Value> {
        let lines = self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
        lines
    }
}

/// Fails the test unless the lines with this message have these values in this field, in this order.
fn assert_logged(lines: &[Value], message: &str, field: &str, expected: &[Value]) {
    let logged: Vec<Value> = lines_of(lines, message).iter().map(|line| line[field].clone()).collect();
    assert_eq!(logged, expected, "{field} of {message} in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_under_a_callers_own_id_is_not_reported_as_new() {
    let shop = Shop::open("new_once_buyer").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let hold: CreateHoldRequest = repeatable_hold(product_id, 2, "mine");
    let held = shop.with_lost_answer(clients.hold_by(hold.clone())).await.unwrap().hold_id;
    clients.hold_by(hold).await.unwrap();
    let order: CreateOrderRequest = repeatable_order(held, "mine");
    let order_id = shop.with_lost_answer(clients.order_by(order.clone())).await.unwrap().order_id;
    clients.order_by(order).await.unwrap();
    for key in ["paid", "paid twice"] {
        let answers = [
            shop.with_lost_answer(clients.pay(key, order_id, PaymentStatus::Success)).await.unwrap(),
            clients.pay(key, order_id, PaymentStatus::Success).await.unwrap(),
        ];
        assert_eq!(answers.map(|answer| answer.first_time), [false, false]);
    }
    let released = clients.hold(product_id, 3).await.unwrap().hold_id;
    shop.with_lost_answer(clients.release(released)).await.unwrap();
    clients.release(released).await.unwrap();

    let page = shop.server.metrics().await;
    for line in [
        r#"flashsale_hold_requests_total{outcome="created"} 1"#,
        r#"flashsale_hold_requests_total{outcome="replayed"} 2"#,
        r#"flashsale_webhook_duration_seconds_count{outcome="replayed"} 4"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    let lines = shop.close().await;
    assert_logged(&lines, "Hold created", "hold_id", &[json!(released)]);
    assert_logged(&lines, "Order created", "order_id", &[]);
    assert_logged(&lines, "Payment webhook handled", "result", &vec![json!("replayed"); 4]);
    assert_logged(&lines, "Hold released", "hold_id", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_under_a_made_up_request_id_is_reported_as_new_once() {
    let shop = Shop::open("new_once_made_up").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let held = shop.with_lost_answer(clients.hold(product_id, 3)).await.unwrap().hold_id;
    let order_id = shop.with_lost_answer(clients.order(held)).await.unwrap().order_id;
    let lines = shop.close().await;
    assert_logged(&lines, "Hold created", "hold_id", &[json!(held)]);
    assert_logged(&lines, "Order created", "order_id", &[json!(order_id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_the_lost_commit_did_not_have_is_reported_as_new_once() {
    let shop = Shop::open("new_once_unsent").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let held = shop.with_lost_request(clients.hold_by(repeatable_hold(product_id, 2, "mine"))).await.unwrap().hold_id;
    let order_id = shop.with_lost_request(clients.order_by(repeatable_order(held, "mine"))).await.unwrap().order_id;
    let paid = shop.with_lost_request(clients.pay("paid", order_id, PaymentStatus::Success)).await.unwrap();
    assert!(paid.first_time);
    let twice = shop.with_lost_request(clients.pay("paid twice", order_id, PaymentStatus::Success)).await.unwrap();
    assert!(twice.first_time);
    let released = clients.hold(product_id, 3).await.unwrap().hold_id;
    shop.with_lost_request(clients.release(released)).await.unwrap();
    shop.with_lost_request(clients.adjust(product_id, 5, "r")).await.unwrap();
    let exception_id = clients.exceptions().await[0].exception_id;
    shop.with_lost_request(clients.resolve(exception_id, "paid back")).await.unwrap();
    let lines = shop.close().await;
    assert_logged(&lines, "Hold created", "hold_id", &[json!(held), json!(released)]);
    assert_logged(&lines, "Order created", "order_id", &[json!(order_id)]);
    assert_logged(&lines, "Payment webhook handled", "result", &[json!("applied"), json!("duplicate_success")]);
    assert_logged(&lines, "Payment needs a refund", "idempotency_key", &[json!("paid twice")]);
    assert_logged(&lines, "Hold released", "hold_id", &[json!(released)]);
    assert_logged(&lines, "Stock adjusted", "delta", &[json!(5)]);
    assert_logged(&lines, "Payment exception resolved", "exception_id", &[json!(exception_id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn units_that_a_sweep_gave_back_are_logged_at_most_once() {
    let shop = Shop::open("new_once_sweep").await;
    let clients = &shop.server.clients;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let url = shop.database.url_at(shop.proxy.port());
    for (fault, logged) in [(Lost::Answer, 0), (Lost::Request, 1)] {
        let expired = clients.hold(product_id, 2).await.unwrap().hold_id;
        shop.let_all_expire().await;
        let (code, of_hold, _) = shop.with_lost(fault, sweep(&url, &[])).await;
        assert_eq!(code, 0);
        let hold_id = clients.hold(product_id, 3).await.unwrap().hold_id;
        let overdue = clients.order(hold_id).await.unwrap().order_id;
        shop.let_all_expire().await;
        // A sweep begins with the holds, and there is none.
        let (code, of_order, _) = shop.with_lost(fault, sweep(&url, &[])).await;
        assert_eq!(code, 0);

        assert_logged(&of_hold, "Hold expired and stock released", "hold_id", &[json!(expired)][..logged]);
        assert_logged(&of_order, "Order cancelled: payment overdue", "order_id", &[json!(overdue)]);
        let logged = i64::try_from(logged).unwrap();
        for (lines, report) in [(of_hold, [logged, logged, 0, 2 * logged]), (of_order, [1, 0, 1, 3])] {
            let fields = ["batches", "holds_expired", "orders_cancelled", "stock_released"];
            let last = lines.last().unwrap();
            assert_eq!(fields.map(|field| last[field].as_i64()), report.map(Some), "{last}");
        }
    }
    // The totals count also what no line was logged for.
    let totals = "SELECT holds_expired, orders_cancelled, stock_released FROM sweeper_state";
    assert_eq!(shop.database.query_rows(totals).await, [["2", "2", "10"]]);
    shop.close().await;
}

//! Delivers events as Stripe writes and signs them: to the gateway program, the server program and the database.

use reqwest::Response;
use serde_json::{Value, json};

use super::{Stack, UNSIGNED, answered, refusal};
use crate::{
    gateway_stripe::{PATH, SECRET, event, signature, signed, text},
    gateway_webhook::now,
    support::programs::lines_of,
};

const SUCCEEDED: &str = "payment_intent.succeeded";
const FAILED: &str = "payment_intent.payment_failed";
const CANCELED: &str = "payment_intent.canceled";

async fn start(name: &str) -> Stack {
    Stack::start(name, &[UNSIGNED, ("FLASHSALE_STRIPE_SECRETS", SECRET)]).await
}

impl Stack {
    /// Signs an event of a payment of 1,000 cents and delivers it.
    async fn stripe(&self, event_type: &str, id: &str, payment_id: &str, order_id: i64) -> Response {
        self.deliver(&event(event_type, id, payment_id, &order_id.to_string(), 1000)).await
    }

    async fn deliver(&self, event: &Value) -> Response {
        let body = text(event);
        signed(self.http.post(self.url(PATH)), &signature(SECRET, now(), &body), &body).send().await.unwrap()
    }

    async fn count(&self, rows: &str) -> i64 {
        self.database.query_i64(&format!("SELECT COUNT(*) FROM {rows}")).await
    }
}

fn handled(order_id: i64, order_status: &str, id: &str) -> Value {
    json!({"order_id": order_id, "order_status": order_status, "idempotency_key": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_types_fail_an_attempt_pay_and_cancel() {
    let stack = start("stripe_types").await;
    let id = stack.product(10).await;
    let order_id = stack.order(id, 1).await;
    let declined = answered(stack.stripe(FAILED, "evt_1", "pi_1", order_id).await, 200).await;
    assert_eq!(declined, handled(order_id, "pending", "evt_1"));
    let paid = answered(stack.stripe(SUCCEEDED, "evt_2", "pi_1", order_id).await, 200).await;
    assert_eq!(paid, handled(order_id, "paid", "evt_2"));
    let too_late = answered(stack.stripe(CANCELED, "evt_3", "pi_1", order_id).await, 200).await;
    assert_eq!(too_late, handled(order_id, "paid", "evt_3"));
    assert_eq!(stack.stock(id).await, 9);

    let given_up = stack.order(id, 4).await;
    assert_eq!(stack.stock(id).await, 5);
    let cancelled = answered(stack.stripe(CANCELED, "evt_4", "pi_2", given_up).await, 200).await;
    assert_eq!(cancelled, handled(given_up, "cancelled", "evt_4"));
    assert_eq!(stack.stock(id).await, 9);

    let mut of_nobody = event(SUCCEEDED, "evt_5", "pi_3", "1", 1000);
    of_nobody["data"]["object"]["metadata"] = json!({});
    assert_eq!(answered(stack.deliver(&of_nobody).await, 200).await["ignored"], true);
    let ignored = answered(stack.stripe("charge.succeeded", "evt_6", "ch_1", given_up).await, 200).await;
    assert_eq!(ignored["ignored"], true);
    assert_eq!((stack.count("payment_webhooks").await, stack.count("payment_exceptions").await), (4, 0));
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_events_of_one_payment_are_one_payment_and_no_refund() {
    let stack = start("stripe_one_payment").await;
    let id = stack.product(10).await;
    let order_id = stack.order(id, 1).await;
    for _first_and_repeat in 0..2 {
        let paid = answered(stack.stripe(SUCCEEDED, "evt_1", "pi_1", order_id).await, 200).await;
        assert_eq!(paid, handled(order_id, "paid", "evt_1"));
    }
    assert_eq!(stack.count("payment_webhooks").await, 1);
    let again = answered(stack.stripe(SUCCEEDED, "evt_2", "pi_1", order_id).await, 200).await;
    assert_eq!(again, handled(order_id, "paid", "evt_2"));
    // The shop's own webhook may tell of the same payment.
    let own = json!({
        "idempotency_key": "own", "order_id": order_id, "status": "success", "amount_cents": 1000, "payment_id": "pi_1"
    });
    assert_eq!(answered(stack.post(super::WEBHOOK, own).await, 200).await, handled(order_id, "paid", "own"));
    assert_eq!(stack.count("payment_exceptions").await, 0);

    let second_payment = answered(stack.stripe(SUCCEEDED, "evt_3", "pi_2", order_id).await, 200).await;
    assert_eq!(second_payment["refund_required"], true);
    assert_eq!(stack.count("payment_exceptions WHERE kind = 'duplicate_success'").await, 1);
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_or_finds_amiss_is_answered_as_to_the_webhook() {
    let stack = start("stripe_refusals").await;
    let id = stack.product(10).await;
    let order_id = 1;
    let early = stack.stripe(SUCCEEDED, "evt_1", "pi_1", order_id).await;
    assert_eq!(early.headers()["retry-after"], "5");
    let body = refusal(early, 422, "ORDER_NOT_FOUND").await;
    assert_eq!(body["details"], json!({"orderId": "1"}));
    assert_eq!(stack.count("payment_webhooks").await, 0);
    assert_eq!(stack.order(id, 1).await, order_id);

    let mut part = event(SUCCEEDED, "evt_2", "pi_1", &order_id.to_string(), 1000);
    part["data"]["object"]["amount_received"] = json!(999);
    let part = answered(stack.deliver(&part).await, 200).await;
    assert_eq!((&part["order_status"], &part["refund_required"]), (&json!("pending"), &json!(true)));
    let paid = answered(stack.stripe(SUCCEEDED, "evt_1", "pi_1", order_id).await, 200).await;
    assert_eq!(paid, handled(order_id, "paid", "evt_1"));
    let other = stack.order(id, 1).await;
    refusal(stack.stripe(SUCCEEDED, "evt_1", "pi_1", other).await, 409, "IDEMPOTENCY_KEY_REUSED").await;
    let long_key = "e".repeat(256);
    let body = refusal(stack.stripe(SUCCEEDED, &long_key, "pi_1", other).await, 422, "INVALID_ARGUMENT").await;
    assert!(body["errors"]["idempotency_key"].is_array(), "{body}");

    let Stack { database, server, gateway, .. } = stack;
    let (gateway_lines, server_lines) = (gateway.stop().await, server.stop().await);
    // Each delivery is logged once: here by the server, since it has read all of them.
    assert!(lines_of(&gateway_lines, "Payment webhook refused").is_empty(), "{gateway_lines:?}");
    assert_eq!(lines_of(&server_lines, "Payment webhook refused").len(), 3);
    let results: Vec<_> =
        lines_of(&server_lines, "Payment webhook handled").iter().map(|line| line["result"].clone()).collect();
    assert_eq!(results, ["amount_mismatch", "applied"]);
    let printed = format!("{gateway_lines:?}{server_lines:?}");
    assert!(!printed.contains(SECRET) && !printed.contains("_secret_"), "{printed}");
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

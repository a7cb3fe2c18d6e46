//! Runs the payment matrix cell by cell, and checks what is stored.

use flashsale::pb::{
    HandlePaymentWebhookResponse, Order, OrderStatus,
    PaymentStatus::{self, Failure, Success},
};
use tonic::Code;

use crate::support::{client::assert_refused, sale::event, server::Sale};

/// The amount of an order of 2 units at 1000 cents.
const RIGHT: Option<i64> = Some(2000);
const LESS: Option<i64> = Some(1999);
const MORE: Option<i64> = Some(2001);
const FREE: Option<i64> = Some(0);

struct Cell {
    before: &'static str,
    status: PaymentStatus,
    amount_cents: Option<i64>,
    after: &'static str,
    refund_required: bool,
    result: &'static str,
}

/// The cells with a known order and a new key.
#[rustfmt::skip]
const CELLS: [Cell; 21] = [
    cell("pending", Success, None, "paid", false, "applied"),
    cell("pending", Success, RIGHT, "paid", false, "applied"),
    cell("pending", Success, LESS, "pending", true, "amount_mismatch"),
    cell("pending", Success, MORE, "pending", true, "amount_mismatch"),
    cell("pending", Success, FREE, "pending", true, "amount_mismatch"),
    cell("pending", Failure, None, "cancelled", false, "applied"),
    cell("pending", Failure, RIGHT, "cancelled", false, "applied"),
    cell("pending", Failure, LESS, "cancelled", false, "applied"),
    cell("paid", Failure, None, "paid", false, "unchanged"),
    cell("paid", Failure, RIGHT, "paid", false, "unchanged"),
    cell("paid", Failure, LESS, "paid", false, "unchanged"),
    cell("paid", Success, None, "paid", true, "duplicate_success"),
    cell("paid", Success, RIGHT, "paid", true, "duplicate_success"),
    cell("paid", Success, LESS, "paid", true, "duplicate_success"),
    cell("cancelled", Failure, None, "cancelled", false, "unchanged"),
    cell("cancelled", Failure, RIGHT, "cancelled", false, "unchanged"),
    cell("cancelled", Failure, LESS, "cancelled", false, "unchanged"),
    cell("cancelled", Success, None, "cancelled", true, "late_success"),
    cell("cancelled", Success, RIGHT, "cancelled", true, "late_success"),
    cell("cancelled", Success, LESS, "cancelled", true, "late_success"),
    cell("cancelled", Success, FREE, "cancelled", true, "late_success"),
];

const fn cell(
    before: &'static str,
    status: PaymentStatus,
    amount_cents: Option<i64>,
    after: &'static str,
    refund_required: bool,
    result: &'static str,
) -> Cell {
    Cell { before, status, amount_cents, after, refund_required, result }
}

impl Cell {
    fn name(&self) -> String {
        format!("{} order, {:?} of {:?}", self.before, self.status, self.amount_cents)
    }

    /// Makes an order in the state of the cell, for its own product with 10 units.
    async fn order(&self, sale: &Sale) -> Order {
        let product_id = sale.product(10).await;
        let order = sale.ordered(product_id, 2).await;
        let earlier = format!("earlier {}", order.order_id);
        match self.before {
            "paid" => _ = sale.clients().pay(&earlier, order.order_id, Success).await.unwrap(),
            "cancelled" => _ = sale.clients().pay(&earlier, order.order_id, Failure).await.unwrap(),
            _ => {}
        }
        order
    }
}

/// Returns all stored values that an event could have changed.
async fn stored(sale: &Sale, order: &Order) -> Vec<Vec<String>> {
    let Order { order_id, hold_id, product_id, .. } = order;
    let mut rows = sale
        .database
        .query_rows(&format!(
            "SELECT orders.status, holds.status, products.available_stock FROM orders, holds, products
              WHERE orders.id = {order_id} AND holds.id = {hold_id} AND products.id = {product_id}"
        ))
        .await;
    let events = format!(
        "SELECT idempotency_key, product_id, status, amount_cents, order_status, result FROM payment_webhooks
          WHERE order_id = {order_id} ORDER BY id"
    );
    rows.extend(sale.database.query_rows(&events).await);
    rows
}

fn status_name(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "pending",
        OrderStatus::Paid => "paid",
        OrderStatus::Cancelled => "cancelled",
        OrderStatus::Unspecified => "unspecified",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_does_what_its_cell_says_and_no_more() {
    let sale = Sale::start("a_new_key_does_what_its_cell_says").await;
    for cell in CELLS {
        let name = cell.name();
        let order = cell.order(&sale).await;
        let key = format!("new {}", order.order_id);
        let request = event(&key, order.order_id, cell.status, cell.amount_cents);
        let mut expected = stored(&sale, &order).await;
        let answer = sale.clients().pay_by(request).await.unwrap();

        assert_eq!((answer.order_id, answer.idempotency_key.as_str()), (order.order_id, key.as_str()), "{name}");
        assert_eq!(status_name(answer.order_status()), cell.after, "{name}");
        assert_eq!((answer.first_time, answer.refund_required), (true, cell.refund_required), "{name}");

        let (hold_status, stock) = if cell.after == "cancelled" { ("cancelled", "10") } else { ("used", "8") };
        expected[0] = [cell.after, hold_status, stock].map(str::to_owned).to_vec();
        let status = if cell.status == Success { "success" } else { "failure" };
        let amount = cell.amount_cents.map_or("NULL".to_owned(), |cents| cents.to_string());
        let product_id = order.product_id.to_string();
        expected.push([&key, &product_id, status, &amount, cell.after, cell.result].map(str::to_owned).to_vec());
        assert_eq!(stored(&sale, &order).await, expected, "{name}");
    }
    sale.finish().await;
}

/// The same idempotency key gets the same result.
#[tokio::test(flavor = "multi_thread")]
async fn a_seen_key_gets_the_stored_answer_whatever_it_now_reports() {
    let sale = Sale::start("a_seen_key_gets_the_stored_answer").await;
    for cell in CELLS {
        let name = cell.name();
        let order = cell.order(&sale).await;
        let key = format!("seen {}", order.order_id);
        let first = sale.clients().pay_by(event(&key, order.order_id, cell.status, cell.amount_cents)).await.unwrap();
        let as_first = HandlePaymentWebhookResponse { first_time: false, ..first };

        for step in ["at once", "after the order moved on"] {
            let before = stored(&sale, &order).await;
            for (status, amount_cents) in [(Success, None), (Failure, None), (Success, RIGHT), (Failure, LESS)] {
                let again = sale.clients().pay_by(event(&key, order.order_id, status, amount_cents)).await;
                assert_eq!(again.unwrap(), as_first, "{name}, {status:?} {step}");
            }
            assert_eq!(stored(&sale, &order).await, before, "{name} {step}");
            // These events change only a pending order, and are new for the others.
            sale.clients().pay(&format!("{step} {key}"), order.order_id, Failure).await.unwrap();
        }
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seen_key_with_another_order_is_refused_and_changes_nothing() {
    let sale = Sale::start("a_seen_key_with_another_order").await;
    for cell in CELLS {
        let name = cell.name();
        let order = cell.order(&sale).await;
        let key = format!("seen {}", order.order_id);
        sale.clients().pay_by(event(&key, order.order_id, cell.status, cell.amount_cents)).await.unwrap();
        let other = cell.order(&sale).await;
        let before = (stored(&sale, &order).await, stored(&sale, &other).await);
        for order_id in [other.order_id, i64::MAX] {
            for status in [Success, Failure] {
                let refused = sale.clients().pay_by(event(&key, order_id, status, cell.amount_cents)).await;
                assert_refused(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
            }
        }
        assert_eq!((stored(&sale, &order).await, stored(&sale, &other).await), before, "{name}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_order_is_not_found_and_nothing_is_stored() {
    let sale = Sale::start("an_event_for_an_unknown_order").await;
    for status in [Success, Failure] {
        for amount_cents in [None, RIGHT, FREE] {
            for order_id in [1, i64::MAX] {
                let refused = sale.clients().pay_by(event("k", order_id, status, amount_cents)).await;
                assert_refused(refused, Code::NotFound, "ORDER_NOT_FOUND");
            }
        }
    }
    assert_eq!(sale.count("payment_webhooks").await, 0);
    sale.finish().await;
}

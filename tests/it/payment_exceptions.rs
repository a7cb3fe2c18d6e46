//! Covers payments that need a person: how they arise, and the listing and the resolving of them.

mod listing;
mod resolving;

use flashsale::pb::{Order, PaymentException, PaymentExceptionKind, PaymentStatus};
use tonic::Code;

use crate::support::{at_once::at_once, client::assert_refused, sale::event, server::Sale};

/// Holds a cancelled order, and the key of the payment that came too late for it.
struct Late {
    order: Order,
    key: String,
}

/// Pays a cancelled order of one unit.
async fn pay_late(sale: &Sale, product_id: i64, key: &str) -> Late {
    let order = sale.ordered(product_id, 1).await;
    sale.clients().pay(&format!("{key} failed"), order.order_id, PaymentStatus::Failure).await.unwrap();
    sale.clients().pay(key, order.order_id, PaymentStatus::Success).await.unwrap();
    Late { order, key: key.to_owned() }
}

/// Makes exceptions of one product, and returns their ids, the oldest first.
async fn pay_late_often(sale: &Sale, product_id: i64, count: usize) -> Vec<i64> {
    for number in 0..count {
        pay_late(sale, product_id, &format!("{product_id} late {number}")).await;
    }
    let sql = format!("SELECT id FROM payment_exceptions WHERE product_id = {product_id} ORDER BY id");
    sale.database.query_rows(&sql).await.iter().map(|row| row[0].parse().unwrap()).collect()
}

fn ids(exceptions: &[PaymentException]) -> Vec<i64> {
    exceptions.iter().map(|exception| exception.exception_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refund_required_is_an_exception_with_what_a_person_needs() {
    use PaymentExceptionKind::*;
    use PaymentStatus::{Failure, Success};
    let sale = Sale::start("each_refund_is_an_exception").await;
    let product_id = sale.product(100).await;
    for (before, amount_cents, kind) in [
        (None, Some(999), AmountMismatch),
        (None, Some(0), AmountMismatch),
        (Some(Success), None, DuplicateSuccess),
        (Some(Success), Some(1000), DuplicateSuccess),
        (Some(Success), Some(i64::MAX), DuplicateSuccess),
        (Some(Failure), None, LateSuccess),
        (Some(Failure), Some(1000), LateSuccess),
    ] {
        let order = sale.ordered(product_id, 1).await;
        let key = format!("{before:?} {amount_cents:?} 𝄞'");
        if let Some(status) = before {
            sale.clients().pay(&format!("first {key}"), order.order_id, status).await.unwrap();
        }
        let answer = sale.clients().pay_by(event(&key, order.order_id, Success, amount_cents)).await.unwrap();
        assert!(answer.refund_required);
        let newest = sale.clients().exceptions().await.remove(0);
        assert_eq!((newest.kind(), newest.order_id), (kind, order.order_id), "{key}");
        assert_eq!((&newest.idempotency_key, newest.amount_cents), (&key, amount_cents));
        assert_eq!((newest.resolved_at, &newest.note), (None, &None));
        let stored = format!(
            "payment_webhooks JOIN payment_exceptions USING (idempotency_key, order_id, product_id) \
            WHERE payment_exceptions.id = {} AND payment_webhooks.created_at IS NOT NULL",
            newest.exception_id
        );
        assert_eq!(sale.count(&stored).await, 1);
    }
    assert_eq!(sale.count("payment_exceptions").await, 7);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_needs_nobody_is_no_exception() {
    use PaymentStatus::{Failure, Success};
    let sale = Sale::start("no_exception").await;
    let product_id = sale.product(100).await;
    let (paid, cancelled) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    for (key, order_id, status) in [
        ("a", paid.order_id, Success),
        ("b", paid.order_id, Failure),
        ("c", cancelled.order_id, Failure),
        ("d", cancelled.order_id, Failure),
    ] {
        assert!(!sale.clients().pay(key, order_id, status).await.unwrap().refund_required);
    }
    let unknown = sale.clients().pay("e", 999, Success).await;
    assert_refused(unknown, Code::NotFound, "ORDER_NOT_FOUND");
    let reused = sale.clients().pay("a", cancelled.order_id, Success).await;
    assert_refused(reused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(sale.count("payment_exceptions").await, 0);
    sale.finish().await;
}

/// Twenty deliveries of one event at the same moment, at two servers, make one exception.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_deliveries_are_one_exception() {
    let sale = Sale::start("twenty_deliveries_one_exception").await;
    let second = sale.second_server().await;
    let product_id = sale.product(100).await;
    for round in 0..5 {
        let order = sale.ordered(product_id, 1).await;
        let kind = [PaymentStatus::Success, PaymentStatus::Failure][round % 2];
        sale.clients().pay(&format!("first {round}"), order.order_id, kind).await.unwrap();
        let answers = at_once(20, |number| {
            let clients = if number % 2 == 0 { sale.clients() } else { &second.clients }.clone();
            let key = format!("again {round}");
            async move { clients.pay(&key, order.order_id, PaymentStatus::Success).await.unwrap() }
        });
        let answers = answers.await;
        assert!(answers.iter().all(|answer| answer.refund_required));
        assert_eq!(answers.iter().filter(|answer| answer.first_time).count(), 1);
        assert_eq!(sale.count("payment_exceptions").await, i64::try_from(round).unwrap() + 1);
    }
    second.stop().await;
    sale.finish().await;
}

/// Many events arrive at once, also in one batch, and each exception belongs to its own event.
#[tokio::test(flavor = "multi_thread")]
async fn exceptions_of_one_batch_keep_their_own_facts() {
    let sale = Sale::start("exceptions_of_one_batch").await;
    let product_id = sale.product(100).await;
    let mut orders = Vec::new();
    for _ in 0..10 {
        orders.push(sale.ordered(product_id, 1).await.order_id);
    }
    let answers = at_once(40, |number| {
        let (clients, order_id) = (sale.clients().clone(), orders[number % 10]);
        let amount = Some(i64::try_from(number).unwrap());
        async move { clients.pay_by(event(&format!("k{number:02}"), order_id, PaymentStatus::Success, amount)).await }
    });
    assert!(answers.await.into_iter().all(|answer| answer.unwrap().refund_required));
    let exceptions = sale.clients().exceptions().await;
    assert_eq!(exceptions.len(), 40);
    for exception in exceptions {
        let number: usize = exception.idempotency_key[1..].parse().unwrap();
        assert_eq!(exception.order_id, orders[number % 10]);
        assert_eq!(exception.amount_cents, Some(i64::try_from(number).unwrap()));
    }
    sale.finish().await;
}

//! Shows that the same idempotency key gets the same result, and that keys are compared byte for byte.

use flashsale::{
    checkout::HandlePaymentWebhook,
    domain::{IdempotencyKey, OrderId, PaymentEvent, PaymentStatus},
    pb::{OrderStatus, PaymentStatus::Success},
};
use tonic::Code;

use crate::support::{client::assert_refused, counted::CountedCheckout, server::Sale};

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_differ_in_a_byte_are_different_keys() {
    let sale = Sale::start("keys_that_differ_in_a_byte").await;
    let product_id = sale.product(100).await;
    let keys = [
        "k",
        "K",
        "k ",
        " k",
        "k  ",
        "k\0",
        "k\t",
        "k\n",
        "é",
        "e\u{301}",
        "e",
        "É",
        "ss",
        "ß",
        "\0",
        "\u{feff}k",
        "' OR 1",
    ];
    for key in keys {
        let order = sale.ordered(product_id, 1).await;
        let answer = sale.clients().pay(key, order.order_id, Success).await.unwrap();
        assert!(answer.first_time, "{key:?}");
        assert_eq!((answer.idempotency_key.as_str(), answer.order_status()), (key, OrderStatus::Paid));
        let again = sale.clients().pay(key, order.order_id, Success).await.unwrap();
        assert!(!again.first_time, "{key:?}");
        let hex: String = key.bytes().map(|byte| format!("{byte:02X}")).collect();
        let stored = format!("SELECT HEX(idempotency_key) FROM payment_webhooks WHERE order_id = {}", order.order_id);
        assert_eq!(sale.database.query_rows(&stored).await, [[hex]]);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_255_bytes_is_taken_whole() {
    let sale = Sale::start("a_key_of_255_bytes").await;
    let product_id = sale.product(100).await;
    let prefix = "𝄞".repeat(63);
    for key in [format!("{prefix}aaa"), format!("{prefix}aab"), format!("{}k", "é".repeat(127)), "x".repeat(255)] {
        assert_eq!(key.len(), 255);
        let order = sale.ordered(product_id, 1).await;
        assert!(sale.clients().pay(&key, order.order_id, Success).await.unwrap().first_time);
        let again = sale.clients().pay(&key, order.order_id, Success).await.unwrap();
        assert_eq!((again.first_time, again.idempotency_key), (false, key));
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_orders_whatever_became_of_it() {
    let sale = Sale::start("a_key_is_one_orders").await;
    let product_id = sale.product(100).await;
    let (one, other) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    sale.clients().pay("k", one.order_id, Success).await.unwrap();
    for order_id in [other.order_id, other.order_id + 1, i64::MAX] {
        let refused = sale.clients().pay("k", order_id, Success).await;
        assert_refused(refused, Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    }
    assert_eq!(
        (sale.order_status(other.order_id).await, sale.count("payment_webhooks").await),
        ("pending".to_owned(), 1)
    );
    sale.finish().await;
}

/// An event has most likely come before only if its order isn't pending.
///
/// If it has come for a pending order, for example with another amount, its key is found taken when it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_pending_order_is_stored_without_a_look_for_its_key() {
    let sale = Sale::start("stored_without_a_look").await;
    let product_id = sale.product(10).await;
    let (one, other) = (sale.ordered(product_id, 1).await.order_id, sale.ordered(product_id, 1).await.order_id);
    let counted = CountedCheckout::open(&sale.database).await;
    let statements = async |key: &str, order_id, amount_cents| {
        let event = PaymentEvent { status: PaymentStatus::Success, amount_cents, payment_id: None };
        let (key, order_id) = (IdempotencyKey::parse(key).unwrap(), OrderId::stored(order_id));
        let delivery = HandlePaymentWebhook { idempotency_key: key, order_id, event };
        let (answer, sent) = counted.count(counted.checkout.handle_payment_webhook(delivery)).await;
        (answer.unwrap().first_time, sent.queries, sent.executes)
    };
    assert_eq!(statements("one", one, None).await, (true, 2, 1), "BEGIN, the order, the script");
    assert_eq!(statements("one", one, None).await, (false, 2, 2), "BEGIN, the order, the key, COMMIT");
    assert_eq!(statements("other", other, Some(1)).await, (true, 2, 1));
    assert_eq!(statements("other", other, Some(1)).await, (false, 5, 3), "twice, with a ROLLBACK in between");
    counted.close().await;
    sale.finish().await;
}

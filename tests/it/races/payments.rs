//! Shows that the same idempotency key gets the same result, also for deliveries at the same moment.

use flashsale::pb::{
    HandlePaymentWebhookResponse, OrderStatus,
    PaymentStatus::{self, Failure, Success},
};
use tonic::Status;

use super::Crowd;
use crate::support::{at_once::at_once, client::reason};

type Answer = Result<HandlePaymentWebhookResponse, Status>;

/// Delivers all of these at the same moment.
async fn deliver(crowd: &Crowd, events: Vec<(String, i64, PaymentStatus)>) -> Vec<Answer> {
    at_once(events.len(), |number| {
        let (clients, (key, order_id, status)) = (crowd.caller(number), events[number].clone());
        async move { clients.pay(&key, order_id, status).await }
    })
    .await
}

/// Delivers one key twice at the same moment: both deliveries get the same successful answer.
#[tokio::test(flavor = "multi_thread")]
async fn of_20_deliveries_of_one_key_at_once_all_succeed_alike_and_one_is_the_first() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("20_deliveries_of_one_key", servers).await;
        let product_id = crowd.sale.product(100).await;
        for (round, status) in [Success, Failure, Success, Failure].into_iter().enumerate() {
            let order = crowd.sale.ordered(product_id, 5).await;
            let stock = crowd.sale.stock(product_id).await;
            let key = format!("key {round}");
            let answers = deliver(&crowd, vec![(key.clone(), order.order_id, status); 20]).await;
            let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            assert_eq!(answers.iter().filter(|answer| answer.first_time).count(), 1);
            let expected = if status == Success { OrderStatus::Paid } else { OrderStatus::Cancelled };
            for answer in answers {
                assert_eq!((answer.order_status(), answer.refund_required), (expected, false));
                assert_eq!((answer.order_id, answer.idempotency_key.as_str()), (order.order_id, key.as_str()));
            }
            let back = if status == Success { 0 } else { 5 };
            assert_eq!(crowd.sale.stock(product_id).await, stock + back);
            assert_eq!(crowd.sale.count(&format!("payment_webhooks WHERE order_id = {}", order.order_id)).await, 1);
        }
        crowd.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_for_two_orders_at_once_settles_one_and_is_refused_to_the_other() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("one_key_for_two_orders", servers).await;
        let product_id = crowd.sale.product(100).await;
        for round in 0..10 {
            let orders = [crowd.sale.ordered(product_id, 1).await, crowd.sale.ordered(product_id, 1).await];
            let key = format!("key {round}");
            let events = (0..8).map(|number| (key.clone(), orders[number / 2 % 2].order_id, Success)).collect();
            let answers = deliver(&crowd, events).await;
            let paid: Vec<i64> = answers.iter().flatten().map(|answer| answer.order_id).collect();
            assert_eq!(paid.len(), 4, "{answers:?}");
            assert!(paid.iter().all(|order_id| *order_id == paid[0]));
            assert_eq!(answers.iter().flatten().filter(|answer| answer.first_time).count(), 1);
            let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
            assert!(refused.map(reason).all(|reason| reason == "IDEMPOTENCY_KEY_REUSED"));
            for order in orders {
                let expected = if order.order_id == paid[0] { "paid" } else { "pending" };
                assert_eq!(crowd.sale.order_status(order.order_id).await, expected);
            }
        }
        assert_eq!(crowd.sale.count("payment_webhooks").await, 10);
        crowd.finish().await;
    }
}

/// An order goes from pending to paid or from pending to cancelled, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_and_a_failure_of_one_order_at_once_do_one_of_both() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("a_success_and_a_failure", servers).await;
        let product_id = crowd.sale.product(100).await;
        for round in 0..20 {
            let order = crowd.sale.ordered(product_id, 1).await;
            let stock = crowd.sale.stock(product_id).await;
            let event = |status| (format!("{status:?} {round}"), order.order_id, status);
            let events = if round % 2 == 0 { [Success, Failure] } else { [Failure, Success] }.map(event).to_vec();
            let answers = deliver(&crowd, events.clone()).await;
            let status = crowd.sale.order_status(order.order_id).await;
            for ((_, _, event), answer) in events.into_iter().zip(answers) {
                let answer = answer.unwrap();
                let (expected, refund) = match (status.as_str(), event) {
                    ("paid", _) => (OrderStatus::Paid, false),
                    ("cancelled", Success) => (OrderStatus::Cancelled, true),
                    ("cancelled", Failure) => (OrderStatus::Cancelled, false),
                    other => panic!("{other:?}"),
                };
                assert_eq!(
                    (answer.order_status(), answer.refund_required, answer.first_time),
                    (expected, refund, true)
                );
            }
            let back = i64::from(status == "cancelled");
            assert_eq!(crowd.sale.stock(product_id).await, stock + back);
        }
        crowd.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_of_one_order_at_once_pay_it_once_and_ask_for_the_other_refunds() {
    let crowd = Crowd::gather("many_keys_of_one_order", 2).await;
    let product_id = crowd.sale.product(100).await;
    let order = crowd.sale.ordered(product_id, 1).await;
    let events = (0..40).map(|number| (format!("key {number}"), order.order_id, Success)).collect();
    let answers: Vec<_> = deliver(&crowd, events).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.first_time && answer.order_status() == OrderStatus::Paid));
    assert_eq!(answers.iter().filter(|answer| !answer.refund_required).count(), 1);
    assert_eq!(crowd.sale.count("payment_webhooks WHERE result = 'applied'").await, 1);
    assert_eq!(crowd.sale.count("payment_webhooks WHERE result = 'duplicate_success'").await, 39);
    crowd.finish().await;
}

//! Tests AcceptPayment.

use flashsale::pb::{
    AcceptPaymentRequest, AcceptPaymentResponse, HandlePaymentWebhookRequest, OrderStatus, PaymentStatus,
};
use tonic::{Code, Status};

use crate::support::{
    at_once::at_once,
    client::{Clients, assert_refused},
    sale::{bad_fields, event, missing},
    server::Sale,
};

async fn accept(clients: &Clients, exception_id: i64, note: &str) -> Result<AcceptPaymentResponse, Status> {
    let request = AcceptPaymentRequest { exception_id, note: note.to_owned() };
    Ok(clients.admin.clone().accept_payment(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_a_cent_off_pays_the_order_by_an_operators_word() {
    let sale = Sale::start("a_cent_off").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 2).await;
    let mismatch = HandlePaymentWebhookRequest {
        payment_id: Some("pi_1".to_owned()),
        ..event("k", order.order_id, PaymentStatus::Success, Some(1999))
    };
    assert!(sale.clients().pay_by(mismatch.clone()).await.unwrap().refund_required);
    let id = sale.clients().exceptions().await[0].exception_id;
    let accepted = accept(sale.clients(), id, "a cent off").await.unwrap();
    let (exception, paid) = (accepted.exception.clone().unwrap(), accepted.order.clone().unwrap());
    assert_eq!(exception.note.as_deref(), Some("a cent off"));
    assert!(exception.resolved_at.is_some());
    assert_eq!((paid.order_id, paid.status()), (order.order_id, OrderStatus::Paid));
    let shown = sale.clients().get_order(order.order_id).await.unwrap();
    assert_eq!(paid, shown, "also when it was settled");
    assert!(shown.settled_at.is_some());
    assert_eq!((shown.status(), sale.stock(product_id).await), (OrderStatus::Paid, 8));

    for note in ["a cent off", "another note"] {
        let again = accept(sale.clients(), id, note).await.unwrap();
        assert_eq!((again.exception, again.order), (Some(exception.clone()), Some(shown.clone())), "{note}");
    }
    assert!(sale.clients().exceptions().await.is_empty());
    // The stored answer stays, another event of the payment asks for nothing, and another payment for a refund.
    assert!(sale.clients().pay_by(mismatch).await.unwrap().refund_required);
    let of_payment = |key: &str, payment_id: &str| HandlePaymentWebhookRequest {
        payment_id: Some(payment_id.to_owned()),
        ..event(key, order.order_id, PaymentStatus::Success, Some(1999))
    };
    assert!(!sale.clients().pay_by(of_payment("k2", "pi_1")).await.unwrap().refund_required);
    assert!(sale.clients().pay_by(of_payment("k3", "pi_2")).await.unwrap().refund_required);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_mismatch_of_a_pending_order_is_not_accepted() {
    let sale = Sale::start("not_acceptable").await;
    let product_id = sale.product(10).await;
    let clients = sale.clients();
    let refused = async |order_id: i64, what: &str| {
        let exceptions = clients.exceptions().await;
        let exception = exceptions.iter().find(|exception| exception.order_id == order_id).unwrap();
        let status = accept(clients, exception.exception_id, "please").await;
        assert_refused(status, Code::FailedPrecondition, "PAYMENT_NOT_ACCEPTABLE");
        let after = clients.exceptions().await;
        assert_eq!(exceptions, after, "{what}");
    };
    let late = sale.ordered(product_id, 1).await;
    clients.cancel(late.order_id).await.unwrap();
    clients.pay("late", late.order_id, PaymentStatus::Success).await.unwrap();
    refused(late.order_id, "a late success").await;

    let twice = sale.ordered(product_id, 1).await;
    clients.pay("one", twice.order_id, PaymentStatus::Success).await.unwrap();
    clients.pay("two", twice.order_id, PaymentStatus::Success).await.unwrap();
    refused(twice.order_id, "a duplicate").await;

    let cancelled = sale.ordered(product_id, 1).await;
    clients.pay_by(event("off", cancelled.order_id, PaymentStatus::Success, Some(1))).await.unwrap();
    clients.cancel(cancelled.order_id).await.unwrap();
    refused(cancelled.order_id, "a mismatch of a cancelled order").await;

    let refunded = sale.ordered(product_id, 1).await;
    clients.pay_by(event("part", refunded.order_id, PaymentStatus::Success, Some(1))).await.unwrap();
    let exceptions = clients.exceptions().await;
    let id = exceptions.iter().find(|exception| exception.order_id == refunded.order_id).unwrap().exception_id;
    clients.resolve(id, "refunded").await.unwrap();
    let status = accept(clients, id, "please").await;
    assert_refused(status, Code::FailedPrecondition, "PAYMENT_NOT_ACCEPTABLE");
    assert_eq!(sale.order_status(refunded.order_id).await, "pending");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_exception_is_not_found_and_bad_fields_are_named() {
    let sale = Sale::start("accepting_nothing").await;
    let status = assert_refused(accept(sale.clients(), 7, "n").await, Code::NotFound, "PAYMENT_EXCEPTION_NOT_FOUND");
    assert_eq!(missing(&status), ("flashsale.v1.PaymentException".to_owned(), "7".to_owned()));
    let status = assert_refused(accept(sale.clients(), 0, "").await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["exception_id", "note"]);
    sale.finish().await;
}

/// A second payment of the right amount, a cancellation and the acceptance want the same order.
#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_races_with_a_payment_and_a_cancellation() {
    let sale = Sale::start("acceptance_races").await;
    let product_id = sale.product(100).await;
    for round in 0..20 {
        let order = sale.ordered(product_id, 1).await;
        let key = format!("{round}-off");
        sale.clients().pay_by(event(&key, order.order_id, PaymentStatus::Success, Some(1))).await.unwrap();
        let id = sale.clients().exceptions().await[0].exception_id;
        let done = at_once(4, |number| {
            let (clients, order_id) = (sale.clients().clone(), order.order_id);
            async move {
                match number {
                    0 | 1 => accept(&clients, id, "part").await.is_ok(),
                    2 => clients.cancel(order_id).await.is_ok(),
                    _ => {
                        !clients
                            .pay(&format!("{round}"), order_id, PaymentStatus::Success)
                            .await
                            .unwrap()
                            .refund_required
                    }
                }
            }
        });
        let done = done.await;
        assert_eq!(done[0], done[1], "round {round}: {done:?}");
        assert_eq!(done[1..].iter().filter(|done| **done).count(), 1, "round {round}: {done:?}");
        for exception in sale.clients().exceptions().await {
            sale.clients().resolve(exception.exception_id, "refunded").await.unwrap();
        }
    }
    sale.finish().await;
}

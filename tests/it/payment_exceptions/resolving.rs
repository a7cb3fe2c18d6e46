//! Covers ResolvePaymentException.

use tonic::Code;

use super::pay_late;
use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata},
    sale::{bad_fields, missing},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_resolved_exception_has_its_note_and_its_time_and_leaves_the_list() {
    let sale = Sale::start("a_resolved_exception").await;
    let product_id = sale.product(10).await;
    let late = pay_late(&sale, product_id, "k").await;
    let open = sale.clients().exceptions().await.remove(0);
    assert_eq!((&open.idempotency_key, open.order_id), (&late.key, late.order.order_id));

    let note = "é".repeat(999) + "'";
    let resolved = sale.clients().resolve(open.exception_id, &note).await.unwrap();
    assert_eq!(resolved.note.as_deref(), Some(note.as_str()));
    assert!(resolved.resolved_at.unwrap().seconds >= resolved.created_at.unwrap().seconds);
    let expected = flashsale::pb::PaymentException { note: None, resolved_at: None, ..resolved.clone() };
    assert_eq!(open, expected, "nothing else has changed");
    assert!(sale.clients().exceptions().await.is_empty());
    let all = flashsale::pb::ListPaymentExceptionsRequest { include_resolved: Some(true), ..Default::default() };
    assert_eq!(sale.clients().exceptions_by(all).await.unwrap().exceptions, [resolved]);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_stays_as_it_was_resolved_first() {
    let sale = Sale::start("an_exception_stays_resolved").await;
    let product_id = sale.product(10).await;
    pay_late(&sale, product_id, "k").await;
    let id = sale.clients().exceptions().await[0].exception_id;
    let first = sale.clients().resolve(id, "refunded as 17").await.unwrap();
    for note in ["refunded as 17", "refunded as 18", "Refunded as 17"] {
        assert_eq!(sale.clients().resolve(id, note).await.unwrap(), first, "{note}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_resolve_at_the_same_moment_one_does_and_all_learn_who() {
    let sale = Sale::start("many_resolve_at_once").await;
    let second = sale.second_server().await;
    let product_id = sale.product(10).await;
    for round in 0..5 {
        pay_late(&sale, product_id, &format!("k{round}")).await;
        let id = sale.clients().exceptions().await[0].exception_id;
        let answers = at_once(10, |number| {
            let clients = if number % 2 == 0 { sale.clients() } else { &second.clients }.clone();
            async move { clients.resolve(id, &format!("refunded by {number}")).await.unwrap() }
        });
        let answers = answers.await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    second.stop().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_exception_and_bad_fields_are_refused() {
    let sale = Sale::start("an_unknown_exception").await;
    let status = assert_refused(sale.clients().resolve(77, "n").await, Code::NotFound, "PAYMENT_EXCEPTION_NOT_FOUND");
    assert_eq!(metadata(&status)["exceptionId"], "77");
    assert_eq!(missing(&status), ("flashsale.v1.PaymentException".to_owned(), "77".to_owned()));

    let product_id = sale.product(10).await;
    pay_late(&sale, product_id, "k").await;
    let id = sale.clients().exceptions().await[0].exception_id;
    let long = "é".repeat(1001);
    for (id, note, fields) in [
        (0, "n", vec!["exception_id"]),
        (id, "", vec!["note"]),
        (id, long.as_str(), vec!["note"]),
        (-1, "", vec!["exception_id", "note"]),
    ] {
        let status = assert_refused(sale.clients().resolve(id, note).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields, "{id} {note:?}");
    }
    assert_eq!(sale.clients().exceptions().await.len(), 1, "still open");
    sale.finish().await;
}

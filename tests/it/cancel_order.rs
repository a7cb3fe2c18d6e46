//! Tests CancelOrder.

use flashsale::{
    checkout::cancel_overdue_orders::cancel_overdue_orders,
    pb::{CreateProductRequest, HoldStatus, OrderStatus, PaymentStatus},
};
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata, reason},
    sale::{bad_fields, hold_of, missing, product},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_gives_the_stock_back_once_however_often_it_is_called() {
    let sale = Sale::start("a_cancellation_gives_back_once").await;
    let product_id = sale.product(10).await;
    let other = sale.ordered(product_id, 2).await;
    let order = sale.ordered(product_id, 3).await;
    assert!(order.settled_at.is_none());
    let cancelled = sale.clients().cancel(order.order_id).await.unwrap();
    assert_eq!(cancelled.status(), OrderStatus::Cancelled);
    assert_eq!(sale.stock(product_id).await, 8);
    let shown = sale.clients().get_order(order.order_id).await.unwrap();
    assert_eq!(cancelled, shown, "also when it was settled");
    assert!(shown.settled_at.is_some_and(|at| at.seconds >= shown.created_at.unwrap().seconds), "{shown:?}");
    for _ in 0..3 {
        assert_eq!(sale.clients().cancel(order.order_id).await.unwrap(), shown);
    }
    assert_eq!((sale.stock(product_id).await, sale.hold_status(order.hold_id).await), (8, "cancelled".to_owned()));
    assert_eq!(sale.clients().get_hold(order.hold_id).await.unwrap().status(), HoldStatus::Cancelled);
    assert_eq!(sale.order_status(other.order_id).await, "pending");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_cannot_be_cancelled() {
    let sale = Sale::start("a_paid_order_cannot_be_cancelled").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 3).await;
    sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap();
    let status = assert_refused(sale.clients().cancel(order.order_id).await, Code::FailedPrecondition, "ORDER_PAID");
    assert_eq!(metadata(&status)["orderId"], order.order_id.to_string());
    assert_eq!((sale.stock(product_id).await, sale.order_status(order.order_id).await), (7, "paid".to_owned()));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_order_is_not_found_and_a_bad_id_is_named() {
    let sale = Sale::start("cancelling_nothing").await;
    let status = assert_refused(sale.clients().cancel(77).await, Code::NotFound, "ORDER_NOT_FOUND");
    assert_eq!(missing(&status), ("flashsale.v1.Order".to_owned(), "77".to_owned()));
    let status = assert_refused(sale.clients().cancel(0).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["order_id"]);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_units_no_longer_count_for_their_buyer() {
    let sale = Sale::start("cancelled_units_of_a_buyer").await;
    let request = CreateProductRequest { max_per_buyer: Some(2), ..product(10) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;
    let hold = sale.clients().hold_by(hold_of("ann@example.org", product_id, 2)).await.unwrap();
    let order = sale.clients().order(hold.hold_id).await.unwrap();
    assert_eq!(order.buyer_id.as_deref(), Some("ann@example.org"));
    let refused = sale.clients().hold_by(hold_of("ann@example.org", product_id, 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    sale.clients().cancel(order.order_id).await.unwrap();
    sale.clients().hold_by(hold_of("ann@example.org", product_id, 2)).await.unwrap();
    sale.finish().await;
}

/// A payment, a failed payment, a cancellation, a sweep and a hold that takes overdue orders back want the same order.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_settles_an_order_first_wins_and_the_books_are_right() {
    let sale = Sale::start("settling_races").await;
    let second = sale.second_server().await;
    let mut won = std::collections::BTreeMap::new();
    for round in 0..30 {
        let product_id = sale.product(1).await;
        let order = sale.ordered(product_id, 1).await;
        sale.let_all_orders_be_overdue().await;
        let database = sale.sweeper_database();
        let refunds = at_once(10, |number| {
            let clients = if number % 2 == 0 { sale.clients() } else { &second.clients }.clone();
            let (database, order_id) = (database.clone(), order.order_id);
            async move {
                match number {
                    0 | 1 => {
                        let key = format!("{round}-{number}");
                        clients.pay(&key, order_id, PaymentStatus::Success).await.unwrap().refund_required
                    }
                    2 => {
                        clients.pay(&format!("{round}-f"), order_id, PaymentStatus::Failure).await.unwrap();
                        false
                    }
                    3..6 => {
                        if let Err(status) = clients.cancel(order_id).await {
                            assert_eq!(reason(&status), "ORDER_PAID");
                        }
                        false
                    }
                    6 | 7 => {
                        cancel_overdue_orders(&database, std::time::UNIX_EPOCH, 10).await.unwrap();
                        false
                    }
                    _ => {
                        if let Err(status) = clients.hold(product_id, 1).await {
                            assert_eq!(reason(&status), "OUT_OF_STOCK");
                        }
                        false
                    }
                }
            }
        });
        let refunds = refunds.await.into_iter().filter(|refund| *refund).count();
        let status = sale.order_status(order.order_id).await;
        match status.as_str() {
            "paid" => assert_eq!((refunds, sale.hold_status(order.hold_id).await), (1, "used".to_owned())),
            "cancelled" => assert_eq!((refunds, sale.hold_status(order.hold_id).await), (2, "cancelled".to_owned())),
            other => panic!("round {round}: {other}"),
        }
        *won.entry(status).or_insert(0) += 1;
    }
    assert!(won.contains_key("cancelled"), "{won:?}");
    second.stop().await;
    sale.finish().await;
}

//! Tests GetOrder.

use flashsale::pb::{OrderStatus, PaymentStatus};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    sale::{bad_fields, missing},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_read_with_what_became_of_it() {
    let sale = Sale::start("an_order_is_read").await;
    let product_id = sale.product(10).await;
    let (paid, cancelled) = (sale.ordered(product_id, 2).await, sale.ordered(product_id, 3).await);
    assert_eq!(sale.clients().get_order(paid.order_id).await.unwrap(), paid);

    sale.clients().pay("paid", paid.order_id, PaymentStatus::Success).await.unwrap();
    sale.clients().pay("failed", cancelled.order_id, PaymentStatus::Failure).await.unwrap();
    for (mut order, status) in [(paid, OrderStatus::Paid), (cancelled, OrderStatus::Cancelled)] {
        order.set_status(status);
        let read = sale.clients().get_order(order.order_id).await.unwrap();
        assert!(read.settled_at.is_some_and(|at| at.seconds >= order.created_at.unwrap().seconds));
        order.settled_at = read.settled_at;
        assert_eq!(read, order);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_order_reads_pending_until_it_is_swept() {
    let sale = Sale::start("an_overdue_order_is_read").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 2).await;
    sale.let_all_orders_be_overdue().await;
    assert_eq!(sale.clients().get_order(order.order_id).await.unwrap().status(), OrderStatus::Pending);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_order_is_not_found_and_a_bad_id_is_said() {
    let sale = Sale::start("an_unknown_order").await;
    let status = assert_refused(sale.clients().get_order(7).await, Code::NotFound, "ORDER_NOT_FOUND");
    assert_eq!(metadata(&status)["orderId"], "7");
    assert_eq!(missing(&status), ("flashsale.v1.Order".to_owned(), "7".to_owned()));
    for id in [0, -7] {
        let status = assert_refused(sale.clients().get_order(id).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), ["order_id"]);
    }
    sale.finish().await;
}

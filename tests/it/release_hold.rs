//! Tests ReleaseHold.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::expire_holds::expire_holds,
    pb::{HoldStatus, PaymentStatus},
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, details, metadata},
    sale::{bad_fields, missing},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_release_gives_the_stock_back_once_however_often_it_is_called() {
    let sale = Sale::start("a_release_gives_back_once").await;
    let product_id = sale.product(10).await;
    let other = sale.clients().hold(product_id, 5).await.unwrap();
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    let released = sale.clients().release(hold.hold_id).await.unwrap();
    assert_eq!(released.status(), HoldStatus::Cancelled);
    assert_eq!(sale.stock(product_id).await, 5);
    for _ in 0..3 {
        assert_eq!(sale.clients().release(hold.hold_id).await.unwrap(), released);
    }
    assert_eq!(sale.stock(product_id).await, 5);
    assert_eq!(sale.hold_status(other.hold_id).await, "active");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_past_its_time_is_released_as_expired_and_its_stock_comes_back_once() {
    let sale = Sale::start("a_release_past_its_time").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    sale.expire_all_holds().await;
    for _ in 0..2 {
        assert_eq!(sale.clients().release(hold.hold_id).await.unwrap().status(), HoldStatus::Expired);
        assert_eq!((sale.stock(product_id).await, sale.hold_status(hold.hold_id).await), (10, "expired".to_owned()));
    }
    assert_eq!(expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap().rows, 0);
    assert_eq!(sale.stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swept_hold_is_returned_as_it_is() {
    let sale = Sale::start("a_swept_hold_is_released").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    sale.expire_all_holds().await;
    expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
    assert_eq!(sale.clients().release(hold.hold_id).await.unwrap().status(), HoldStatus::Expired);
    assert_eq!(sale.stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_hold_cannot_be_released_and_its_order_is_said() {
    let sale = Sale::start("a_used_hold_cannot_be_released").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 3).await;
    for step in ["pending", "past its time", "paid"] {
        match step {
            "past its time" => sale.database.move_times("UPDATE holds SET expires_at = '2000-01-01'").await,
            "paid" => _ = sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap(),
            _ => {}
        }
        let refused = sale.clients().release(order.hold_id).await;
        let status = assert_refused(refused, Code::FailedPrecondition, "HOLD_USED");
        assert!(details(&status).precondition_failure().is_some());
        assert_eq!(metadata(&status)["holdId"], order.hold_id.to_string());
        assert_eq!(metadata(&status)["orderId"], order.order_id.to_string());
        assert_eq!((sale.stock(product_id).await, sale.hold_status(order.hold_id).await), (7, "used".to_owned()));
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hold_of_a_cancelled_order_is_returned_as_it_is() {
    let sale = Sale::start("a_cancelled_orders_hold_is_released").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 3).await;
    sale.clients().pay("k", order.order_id, PaymentStatus::Failure).await.unwrap();
    assert_eq!(sale.clients().release(order.hold_id).await.unwrap().status(), HoldStatus::Cancelled);
    assert_eq!(sale.stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_hold_cannot_be_released() {
    let sale = Sale::start("an_unknown_hold_is_released").await;
    let status = assert_refused(sale.clients().release(9).await, Code::NotFound, "HOLD_NOT_FOUND");
    assert_eq!(missing(&status), ("flashsale.v1.Hold".to_owned(), "9".to_owned()));
    let status = assert_refused(sale.clients().release(0).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["hold_id"]);
    sale.finish().await;
}

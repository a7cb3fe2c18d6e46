//! Tests GetHold.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::expire_holds::expire_holds,
    pb::{HoldStatus, PaymentStatus},
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    sale::{bad_fields, missing},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_read_with_what_became_of_it() {
    let sale = Sale::start("a_hold_is_read").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 2).await.unwrap();
    let status = async || sale.clients().get_hold(hold.hold_id).await.unwrap().status();
    assert_eq!(status().await, HoldStatus::Active);
    let order = sale.clients().order(hold.hold_id).await.unwrap();
    assert_eq!(status().await, HoldStatus::Used);
    sale.clients().pay("failed", order.order_id, PaymentStatus::Failure).await.unwrap();
    assert_eq!(status().await, HoldStatus::Cancelled);

    let released = sale.clients().hold(product_id, 2).await.unwrap();
    sale.clients().release(released.hold_id).await.unwrap();
    let read = sale.clients().get_hold(released.hold_id).await.unwrap();
    assert_eq!(read.status(), HoldStatus::Cancelled);
    assert_eq!((read.qty, read.unit_price_cents, read.buyer_id), (2, 1000, None));
    assert_eq!((read.created_at, read.expires_at), (released.created_at, released.expires_at));
    sale.finish().await;
}

/// A hold past expires_at is over, swept or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_past_its_time_reads_expired_swept_or_not() {
    let sale = Sale::start("a_hold_past_its_time").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 2).await.unwrap();
    sale.expire_all_holds().await;
    assert_eq!(sale.hold_status(hold.hold_id).await, "active");
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap().status(), HoldStatus::Expired);
    assert_eq!(sale.hold_status(hold.hold_id).await, "active", "a read writes nothing");

    expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap().status(), HoldStatus::Expired);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_hold_past_its_time_reads_used() {
    let sale = Sale::start("a_used_hold_past_its_time").await;
    let product_id = sale.product(10).await;
    let order = sale.ordered(product_id, 2).await;
    sale.database.move_times("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND").await;
    assert_eq!(sale.clients().get_hold(order.hold_id).await.unwrap().status(), HoldStatus::Used);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_hold_is_not_found_and_a_bad_id_is_said() {
    let sale = Sale::start("an_unknown_hold").await;
    let status = assert_refused(sale.clients().get_hold(i64::MAX).await, Code::NotFound, "HOLD_NOT_FOUND");
    assert_eq!(metadata(&status)["holdId"], i64::MAX.to_string());
    assert_eq!(missing(&status), ("flashsale.v1.Hold".to_owned(), i64::MAX.to_string()));
    for id in [0, i64::MIN] {
        let status = assert_refused(sale.clients().get_hold(id).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), ["hold_id"]);
    }
    sale.finish().await;
}

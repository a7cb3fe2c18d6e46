//! Requests with fields that are refused.

use flashsale::pb::CreateHoldRequest;
use tonic::Code;

use crate::support::{
    client::assert_refused,
    sale::{bad_fields, hold, hold_of, repeatable_hold},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_all_named_and_nothing_is_stored() {
    let sale = Sale::start("bad_fields_of_a_hold").await;
    let id = sale.product(10).await;
    let too_long = "x".repeat(256);
    let all_bad =
        CreateHoldRequest { request_id: Some(String::new()), buyer_id: Some(" a".to_owned()), ..Default::default() };
    for (request, fields) in [
        (hold(0, 1), vec!["product_id"]),
        (hold(-1, 1), vec!["product_id"]),
        (hold(i64::MIN, 1), vec!["product_id"]),
        (hold(id, 0), vec!["qty"]),
        (hold(id, -1), vec!["qty"]),
        (hold(id, i32::MIN), vec!["qty"]),
        (repeatable_hold(id, 1, ""), vec!["request_id"]),
        (repeatable_hold(id, 1, &too_long), vec!["request_id"]),
        (repeatable_hold(id, 1, "a "), vec!["request_id"]),
        (repeatable_hold(id, 1, "a\n"), vec!["request_id"]),
        (repeatable_hold(id, 1, "a\0"), vec!["request_id"]),
        (repeatable_hold(id, 1, &"é".repeat(128)), vec!["request_id"]),
        (hold_of("", id, 1), vec!["buyer_id"]),
        (hold_of(&too_long, id, 1), vec!["buyer_id"]),
        (hold_of(" ann", id, 1), vec!["buyer_id"]),
        (hold_of("ann\u{7f}", id, 1), vec!["buyer_id"]),
        (all_bad, vec!["product_id", "qty", "request_id", "buyer_id"]),
    ] {
        let refused = sale.clients().hold_by(request.clone()).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields, "{request:?}");
    }
    assert_eq!((sale.stock(id).await, sale.count("holds").await), (10, 0));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_over_an_int64_is_refused() {
    let sale = Sale::start("an_amount_over_an_int64").await;
    let dear = sale.clients().create_product("Dear", i64::MAX / 2, 10).await.product_id;
    let status = assert_refused(sale.clients().hold(dear, 3).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["qty"]);
    assert_eq!((sale.stock(dear).await, sale.count("holds").await), (10, 0));
    let order = sale.ordered(dear, 2).await;
    assert_eq!(order.amount_cents, i64::MAX - 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_quantity_of_the_largest_stock_can_be_held() {
    let sale = Sale::start("the_largest_quantity").await;
    let id = sale.clients().create_product("Free", 0, i64::MAX).await.product_id;
    let held = sale.clients().hold(id, i32::MAX).await.unwrap();
    assert_eq!(sale.stock(id).await, i64::MAX - i64::from(i32::MAX));
    sale.clients().release(held.hold_id).await.unwrap();
    assert_eq!(sale.stock(id).await, i64::MAX);
    assert_eq!(sale.ordered(id, i32::MAX).await.amount_cents, 0);
    sale.finish().await;
}

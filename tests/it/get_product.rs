//! Tests GetProduct.

use flashsale::pb::{CreateProductRequest, PaymentStatus};
use prost_types::Timestamp;
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata},
    sale::{bad_fields, missing, product},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_read_with_all_its_fields() {
    let sale = Sale::start("a_product_is_read").await;
    let request = CreateProductRequest {
        max_per_buyer: Some(3),
        starts_at: Some(Timestamp { seconds: 1_000_000_000, nanos: 123_456_000 }),
        ends_at: Some(Timestamp { seconds: 4_102_444_800, nanos: 0 }),
        ..product(7)
    };
    let made = sale.clients().try_create_product(request.clone()).await.unwrap();
    assert_eq!((made.name.as_str(), made.price_cents, made.total_stock, made.available_stock), ("Shoe", 1000, 7, 7));
    assert_eq!((made.max_per_buyer, made.paused), (Some(3), false));
    assert_eq!((made.starts_at, made.ends_at), (request.starts_at, request.ends_at));
    assert_eq!(sale.clients().product(made.product_id).await.unwrap(), made);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_product_is_not_found_and_a_bad_id_is_said() {
    let sale = Sale::start("an_unknown_product").await;
    let status = assert_refused(sale.clients().product(1).await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(metadata(&status)["productId"], "1");
    assert_eq!(missing(&status), ("flashsale.v1.Product".to_owned(), "1".to_owned()));
    for id in [0, -1] {
        let status = assert_refused(sale.clients().product(id).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), ["product_id"]);
    }
    let made = sale.product(1).await;
    assert_eq!(made, 1, "not found was not remembered");
    assert_eq!(sale.stock(made).await, 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_is_never_cached() {
    let sale = Sale::start("the_stock_is_never_cached").await;
    let second = sale.second_server().await;
    let product_id = sale.product(10).await;
    assert_eq!((sale.stock(product_id).await, second.clients.available_stock(product_id).await), (10, 10));

    let hold = second.clients.hold(product_id, 3).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 7);
    sale.clients().release(hold.hold_id).await.unwrap();
    assert_eq!(second.clients.available_stock(product_id).await, 10);
    let order = sale.ordered(product_id, 4).await;
    assert_eq!(second.clients.available_stock(product_id).await, 6);
    second.clients.pay("failed", order.order_id, PaymentStatus::Failure).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 10);
    second.stop().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_reads_at_once_sees_what_was_held_before() {
    let sale = Sale::start("many_reads_at_once").await;
    let product_id = sale.product(10).await;
    for left in (0..10).rev() {
        sale.clients().hold(product_id, 1).await.unwrap();
        let clients = sale.clients().clone();
        let reads = at_once(20, |_| {
            let clients = clients.clone();
            async move { clients.available_stock(product_id).await }
        });
        assert_eq!(reads.await, [left; 20]);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_and_price_are_cached_and_nothing_else_is() {
    let sale = Sale::start("name_and_price_are_cached").await;
    let product_id = sale.product(10).await;
    let before = sale.clients().product(product_id).await.unwrap();
    sale.database
        .execute(
            "UPDATE products SET name = 'Boot', price_cents = 9, available_stock = 12, total_stock = 12, \
             max_per_buyer = 5, paused = TRUE, starts_at = '2001-09-09 01:46:40', ends_at = '2100-01-01'",
        )
        .await;
    let after = sale.clients().product(product_id).await.unwrap();
    assert_eq!((&after.name, after.price_cents), (&before.name, before.price_cents));
    assert_eq!((after.available_stock, after.total_stock), (12, 12));
    assert_eq!((after.max_per_buyer, after.paused), (Some(5), true));
    assert_eq!((after.starts_at.unwrap().seconds, after.ends_at.unwrap().seconds), (1_000_000_000, 4_102_444_800));

    let second = sale.second_server().await;
    let elsewhere = second.clients.product(product_id).await.unwrap();
    assert_eq!((elsewhere.name.as_str(), elsewhere.price_cents), ("Boot", 9), "a server that never read it");
    second.stop().await;
    sale.finish().await;
}

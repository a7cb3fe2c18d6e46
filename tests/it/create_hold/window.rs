//! When a sale is on.

use flashsale::pb::CreateProductRequest;
use prost_types::Timestamp;
use tonic::Code;

use crate::support::{
    client::{assert_refused, details, metadata},
    sale::product,
    server::Sale,
};

/// 2100-01-01T00:00:00Z.
const FAR_AHEAD: Timestamp = Timestamp { seconds: 4_102_444_800, nanos: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn before_the_sale_starts_nothing_is_held_and_the_start_is_said() {
    let sale = Sale::start("before_the_sale_starts").await;
    let request = CreateProductRequest { starts_at: Some(FAR_AHEAD), ..product(5) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;

    let refused = sale.clients().hold(product_id, 1).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "SALE_NOT_STARTED");
    assert_eq!(metadata(&status)["startsAt"], "2100-01-01T00:00:00Z");
    assert_eq!(details(&status).precondition_failure().unwrap().violations[0].r#type, "SALE_NOT_STARTED");
    sale.database.execute("UPDATE products SET starts_at = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND").await;
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "SALE_NOT_STARTED");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (5, 0));

    sale.database.execute("UPDATE products SET starts_at = UTC_TIMESTAMP(6)").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_end_of_the_sale_on_nothing_is_held() {
    let sale = Sale::start("after_the_sales_end").await;
    let request = CreateProductRequest { ends_at: Some(FAR_AHEAD), ..product(5) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;
    sale.clients().hold(product_id, 1).await.unwrap();

    sale.database.execute("UPDATE products SET ends_at = UTC_TIMESTAMP(6)").await;
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "SALE_ENDED");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (4, 1));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_sale_is_paused_nothing_is_held() {
    let sale = Sale::start("a_paused_sale").await;
    let product_id = sale.product(5).await;
    sale.database.execute("UPDATE products SET paused = TRUE").await;
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "SALE_PAUSED");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (5, 0));
    sale.database.execute("UPDATE products SET paused = FALSE").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

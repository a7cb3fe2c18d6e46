//! CreateHold: one call after the other. What happens at the same moment is in `races`.

use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    server::Sale,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_sets_units_aside() {
    let sale = Sale::start("a_hold_sets_units_aside").await;
    let product = sale.clients().create_product("Shoe", 1000, 100).await;
    let hold = sale.clients().hold(product.product_id, 5).await.unwrap();
    assert_eq!((hold.product_id, hold.qty, hold.unit_price_cents), (product.product_id, 5, 1000));
    assert_eq!(sale.clients().available_stock(product.product_id).await, 95);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_is_refused_with_what_there_is() {
    let sale = Sale::start("more_than_there_is").await;
    let product = sale.clients().create_product("Shoe", 1000, 3).await;
    let refused = sale.clients().hold(product.product_id, 4).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    let metadata = metadata(&status);
    assert_eq!(metadata["availableStock"], "3");
    assert_eq!(metadata["requested"], "4");
    assert_eq!(metadata["productId"], product.product_id.to_string());
    assert_eq!(sale.clients().available_stock(product.product_id).await, 3);
    sale.finish().await;
}

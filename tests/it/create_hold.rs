//! CreateHold, one call after the other. Calls at the same moment are in `races`, calls of one batch in `batches`.

mod bad_input;
mod box_office;
mod grant_table;
mod limit;
mod optimistic;
mod replays;
mod sold_out;
mod take_back;
mod window;

use std::time::Duration;

use flashsale::{checkout::Settings, pb::HoldStatus};
use tonic::Code;

use crate::support::{
    client::{assert_refused, details, metadata},
    sale::{hold_of, missing},
    server::{Sale, default_settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_sets_units_aside() {
    let sale = Sale::start("a_hold_sets_units_aside").await;
    let product = sale.clients().create_product("Shoe", 1000, 100).await;
    let hold = sale.clients().hold_by(hold_of("ann", product.product_id, 5)).await.unwrap();
    assert_eq!((hold.product_id, hold.qty, hold.unit_price_cents), (product.product_id, 5, 1000));
    assert_eq!((hold.status(), hold.buyer_id.as_deref()), (HoldStatus::Active, Some("ann")));
    assert_eq!(sale.stock(product.product_id).await, 95);
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap(), hold);
    sale.finish().await;
}

/// Rule 1: available_stock never goes below 0.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_is_refused_with_what_there_is() {
    let sale = Sale::start("more_than_there_is").await;
    let product = sale.clients().create_product("Shoe", 1000, 3).await;
    let refused = sale.clients().hold(product.product_id, 4).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert!(details(&status).precondition_failure().is_some());
    let metadata = metadata(&status);
    assert_eq!(metadata["availableStock"], "3");
    assert_eq!(metadata["requested"], "4");
    assert_eq!(metadata["productId"], product.product_id.to_string());
    assert_eq!((sale.stock(product.product_id).await, sale.count("holds").await), (3, 0));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_can_be_held_and_nothing_after_it() {
    let sale = Sale::start("the_last_unit").await;
    let product_id = sale.product(3).await;
    sale.clients().hold(product_id, 3).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 0);
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");

    let nothing = sale.product(0).await;
    assert_refused(sale.clients().hold(nothing, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_an_unknown_product_is_not_found() {
    let sale = Sale::start("hold_of_unknown_product").await;
    for id in [1, i64::MAX] {
        let status = assert_refused(sale.clients().hold(id, 1).await, Code::NotFound, "PRODUCT_NOT_FOUND");
        assert_eq!(metadata(&status)["productId"], id.to_string());
        assert_eq!(missing(&status), ("flashsale.v1.Product".to_owned(), id.to_string()));
    }
    assert_eq!(sale.count("holds").await, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_the_price_it_was_made_at() {
    let sale = Sale::start("a_hold_keeps_its_price").await;
    let product_id = sale.product(10).await;
    let hold = sale.clients().hold(product_id, 3).await.unwrap();
    sale.database.execute("UPDATE products SET price_cents = 9").await;
    assert_eq!(sale.clients().order(hold.hold_id).await.unwrap().amount_cents, 3 * 1000);

    let dearer = sale.clients().hold(product_id, 3).await.unwrap();
    assert_eq!(dearer.unit_price_cents, 9, "a new hold is made at the new price, however fresh GetProduct's is");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_holds_for_120_s_unless_configured() {
    let seven = Settings { hold_ttl: Duration::from_millis(7_001), ..default_settings() };
    for (settings, micros) in [(default_settings(), 120_000_000), (seven, 7_001_000)] {
        let sale = Sale::start_with("a_holds_time_is_a_setting", settings).await;
        let product_id = sale.product(1).await;
        let now = "SELECT CAST(UNIX_TIMESTAMP(UTC_TIMESTAMP(6)) * 1000000 AS SIGNED)";
        let before = sale.database.query_i64(now).await;
        sale.clients().hold(product_id, 1).await.unwrap();
        let after = sale.database.query_i64(now).await;

        let held = "SELECT TIMESTAMPDIFF(MICROSECOND, created_at, expires_at) FROM holds";
        assert_eq!(sale.database.query_i64(held).await, micros);
        let made = "SELECT CAST(UNIX_TIMESTAMP(created_at) * 1000000 AS SIGNED) FROM holds";
        let made = sale.database.query_i64(made).await;
        assert!((before..=after).contains(&made), "made at {made}, called from {before} to {after}");
        sale.finish().await;
    }
}

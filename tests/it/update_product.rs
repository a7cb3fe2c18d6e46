//! Tests UpdateProduct.

use std::time::Duration;

use flashsale::pb::{CreateProductRequest, Product, UpdateProductRequest};
use prost_types::{FieldMask, Timestamp};
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{Clients, assert_refused, reason},
    database::TestDatabase,
    proxy::Proxy,
    sale::{bad_fields, hold_of, missing, product},
    server::{Sale, TestServer, default_settings},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

fn second(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// Makes a product with every field set.
async fn full_product(sale: &Sale) -> Product {
    let request = CreateProductRequest {
        max_per_buyer: Some(3),
        starts_at: second(1_000_000_000),
        ends_at: second(4_102_444_800),
        ..product(10)
    };
    sale.clients().try_create_product(request).await.unwrap()
}

/// Makes a product with other values for every field, which no test can have by accident.
fn other(product_id: i64) -> Product {
    Product {
        product_id,
        name: "𝄞 'quoted' \\ \"Boot\"".to_owned(),
        price_cents: 777,
        total_stock: 999,
        available_stock: 999,
        max_per_buyer: Some(7),
        starts_at: second(1_100_000_000),
        ends_at: second(4_000_000_000),
        paused: true,
    }
}

/// Returns the product's row: another server's GetProduct may answer a name and a price that are a minute old.
async fn stored(sale: &Sale, product_id: i64) -> Vec<String> {
    let columns = "name, price_cents, total_stock, available_stock, max_per_buyer, starts_at, ends_at, paused";
    sale.database.query_rows(&format!("SELECT {columns} FROM products WHERE id = {product_id}")).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_changes_its_field_and_no_other() {
    let sale = Sale::start("each_path_changes_its_field").await;
    for path in ["name", "price_cents", "max_per_buyer", "starts_at", "ends_at", "paused"] {
        let before = full_product(&sale).await;
        let other = other(before.product_id);
        let mut expected = before.clone();
        match path {
            "name" => expected.name = other.name.clone(),
            "price_cents" => expected.price_cents = other.price_cents,
            "max_per_buyer" => expected.max_per_buyer = other.max_per_buyer,
            "starts_at" => expected.starts_at = other.starts_at,
            "ends_at" => expected.ends_at = other.ends_at,
            _ => expected.paused = other.paused,
        }
        let rows_before = stored(&sale, before.product_id).await;
        assert_eq!(sale.clients().update(other.clone(), &[path]).await.unwrap(), expected, "{path}");
        let rows_after = stored(&sale, before.product_id).await;
        assert_eq!(rows_before.iter().zip(&rows_after).filter(|(one, two)| one != two).count(), 1, "{path}");
        assert_eq!(sale.clients().update(other, &[path]).await.unwrap(), expected, "{path} again: it is repeatable");
        assert_eq!(stored(&sale, before.product_id).await, rows_after);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_fields_change_together_and_another_server_sees_them() {
    let sale = Sale::start("all_fields_change_together").await;
    let before = full_product(&sale).await;
    let all = ["paused", "ends_at", "starts_at", "max_per_buyer", "price_cents", "name"];
    let updated = sale.clients().update(other(before.product_id), &all).await.unwrap();
    assert_eq!(updated, Product { total_stock: 10, available_stock: 10, ..other(before.product_id) });
    let second = sale.second_server().await;
    assert_eq!(second.clients.product(before.product_id).await.unwrap(), updated);
    second.stop().await;
    sale.finish().await;
}

/// The server has read the product before, and keeps its name and price for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_changed_a_name_and_a_price_shows_them_at_once() {
    let sale = Sale::start("a_new_name_at_once").await;
    let before = full_product(&sale).await;
    assert_eq!(sale.clients().product(before.product_id).await.unwrap(), before);
    let other = other(before.product_id);
    for path in ["name", "price_cents"] {
        let updated = sale.clients().update(other.clone(), &[path]).await.unwrap();
        assert_eq!(sale.clients().product(before.product_id).await.unwrap(), updated, "{path}");
    }
    sale.finish().await;
}

/// The COMMIT arrives after the caller was told that its outcome is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_outcome_was_unknown_shows_as_soon_as_it_is_there() {
    let database = TestDatabase::create("a_change_of_unknown_outcome").await;
    let proxy = Proxy::start(database.port()).await;
    let server = TestServer::start_with(&database.url_at(proxy.port()), default_settings()).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    assert_eq!(server.clients.product(product_id).await.unwrap().name, "Shoe");

    proxy.hold_back_next_commit();
    let update = server.clients.update(other(product_id), &["name", "price_cents"]);
    let cut = async {
        wait::eventually(LIMIT, "the COMMIT", async || proxy.holds_back_a_commit()).await;
        proxy.cut();
    };
    let (updated, ()) = tokio::join!(update, cut);
    assert_refused(updated, Code::Unavailable, "DATABASE_UNAVAILABLE");
    proxy.heal();
    proxy.deliver_held_back_commit().await;

    let stored = database.query_rows(&format!("SELECT name, price_cents FROM products WHERE id = {product_id}")).await;
    let shown = wait::eventually_some(LIMIT, "the database", async || server.clients.product(product_id).await.ok());
    let shown = shown.await;
    assert_eq!([shown.name, shown.price_cents.to_string()], *stored[0]);
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_field_that_is_named_and_absent_is_cleared() {
    let sale = Sale::start("optional_fields_are_cleared").await;
    let before = full_product(&sale).await;
    let only_id = Product { product_id: before.product_id, ..Default::default() };
    let cleared = sale.clients().update(only_id, &["max_per_buyer", "starts_at", "ends_at"]).await.unwrap();
    assert_eq!(cleared, Product { max_per_buyer: None, starts_at: None, ends_at: None, ..before });
    sale.clients().hold(cleared.product_id, 10).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_names_its_fields_and_changes_nothing() {
    let sale = Sale::start("a_bad_update_names_its_fields").await;
    let before = full_product(&sale).await;
    let product_id = before.product_id;
    let stored_before = stored(&sale, product_id).await;
    let good = || other(product_id);
    let out_of_range = Some(Timestamp { seconds: 0, nanos: -1 });
    for (product, paths, fields) in [
        (good(), vec![], vec!["update_mask"]),
        (good(), vec!["paused", "colour"], vec!["update_mask"]),
        (good(), vec!["*"], vec!["update_mask"]),
        (good(), vec!["product_id"], vec!["update_mask"]),
        (good(), vec!["total_stock"], vec!["update_mask"]),
        (good(), vec!["available_stock", "name"], vec!["update_mask"]),
        (Product { product_id: 0, ..good() }, vec!["name"], vec!["product.product_id"]),
        (Product { product_id: -1, ..good() }, vec![], vec!["update_mask", "product.product_id"]),
        (Product { name: String::new(), ..good() }, vec!["name", "paused"], vec!["product.name"]),
        (Product { name: "é".repeat(256), ..good() }, vec!["name"], vec!["product.name"]),
        (Product { price_cents: -1, ..good() }, vec!["price_cents"], vec!["product.price_cents"]),
        (Product { max_per_buyer: Some(0), ..good() }, vec!["max_per_buyer"], vec!["product.max_per_buyer"]),
        (Product { starts_at: out_of_range, ..good() }, vec!["starts_at"], vec!["product.starts_at"]),
        (Product { ends_at: second(-1), ..good() }, vec!["ends_at"], vec!["product.ends_at"]),
        // The check is on the window after the change: against the start that stays, or against the new one.
        (Product { ends_at: before.starts_at, ..good() }, vec!["ends_at", "paused"], vec!["product.ends_at"]),
        (Product { starts_at: before.ends_at, ..good() }, vec!["starts_at", "paused"], vec!["product.ends_at"]),
        (Product { starts_at: good().ends_at, ..good() }, vec!["starts_at", "ends_at"], vec!["product.ends_at"]),
    ] {
        let status = assert_refused(
            sale.clients().update(product.clone(), &paths).await,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
        );
        assert_eq!(bad_fields(&status), fields, "{paths:?} of {product:?}");
        assert_eq!(stored(&sale, product_id).await, stored_before);
    }
    for (request, fields) in [
        (UpdateProductRequest { product: Some(good()), update_mask: None }, vec!["update_mask"]),
        (
            UpdateProductRequest { product: None, update_mask: Some(FieldMask { paths: vec!["name".to_owned()] }) },
            vec!["product"],
        ),
    ] {
        let refused = sale.clients().update_by(request).await;
        assert_eq!(bad_fields(&assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT")), fields);
    }
    // Both ends of the window together may go beyond the old window.
    let later = Product { starts_at: second(5_000_000_000), ends_at: second(5_000_000_001), ..good() };
    sale.clients().update(later, &["starts_at", "ends_at"]).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_product_cannot_be_changed() {
    let sale = Sale::start("an_unknown_product_is_not_changed").await;
    let refused = sale.clients().pause(77, true).await;
    let status = assert_refused(refused, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(missing(&status), ("flashsale.v1.Product".to_owned(), "77".to_owned()));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_price_is_for_new_holds_only() {
    let sale = Sale::start("a_new_price_is_for_new_holds").await;
    let product_id = sale.product(10).await;
    let before = sale.clients().hold(product_id, 2).await.unwrap();
    let dearer = Product { product_id, price_cents: 5000, ..Default::default() };
    sale.clients().update(dearer, &["price_cents"]).await.unwrap();
    assert_eq!(sale.clients().order(before.hold_id).await.unwrap().amount_cents, 2000);
    assert_eq!(sale.ordered(product_id, 2).await.amount_cents, 10_000);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_limit_counts_what_a_buyer_already_has() {
    let sale = Sale::start("a_new_limit_counts_all").await;
    let product_id = sale.product(10).await;
    sale.clients().hold_by(hold_of("ann", product_id, 3)).await.unwrap();
    let limited = |max_per_buyer| Product { product_id, max_per_buyer, ..Default::default() };
    sale.clients().update(limited(Some(2)), &["max_per_buyer"]).await.unwrap();
    let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    sale.clients().hold_by(hold_of("bob", product_id, 2)).await.unwrap();
    sale.clients().update(limited(None), &["max_per_buyer"]).await.unwrap();
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    sale.finish().await;
}

/// Each of the two changes is valid alone, and both together are not. Without the lock both would be made.
#[tokio::test(flavor = "multi_thread")]
async fn two_changes_of_the_window_at_the_same_moment_keep_it_in_order() {
    let sale = Sale::start("two_changes_of_the_window").await;
    let second_server = sale.second_server().await;
    for round in 0..20 {
        let request = CreateProductRequest { starts_at: second(1000), ends_at: second(4000), ..product(1) };
        let made = sale.clients().try_create_product(request).await.unwrap();
        let changes = [
            (sale.clients().clone(), Product { starts_at: second(3000), ..made.clone() }, "starts_at"),
            (second_server.clients.clone(), Product { ends_at: second(2000), ..made.clone() }, "ends_at"),
        ];
        let results = at_once(2, |number| {
            let (clients, product, path) = changes[number].clone();
            async move { clients.update(product, &[path]).await }
        })
        .await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}: {results:?}");
    }
    assert_eq!(sale.count("products WHERE ends_at <= starts_at").await, 0);
    second_server.stop().await;
    sale.finish().await;
}

/// A hold that was made in time can still become an order, and after the pause no hold is made.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_among_holds_no_hold_is_made_and_those_made_can_be_ordered() {
    let sale = Sale::start("a_pause_among_holds").await;
    let second_server = sale.second_server().await;
    let product_id = sale.product(1_000_000).await;
    let callers: Vec<Clients> =
        (0..16).map(|number| if number % 2 == 0 { sale.clients() } else { &second_server.clients }.clone()).collect();
    let holders = at_once(callers.len(), |number| {
        let clients = callers[number].clone();
        async move {
            let mut held = Vec::new();
            loop {
                match clients.hold(product_id, 1).await {
                    Ok(hold) => held.push(hold.hold_id),
                    Err(status) => {
                        assert_eq!(reason(&status), "SALE_PAUSED");
                        return held;
                    }
                }
            }
        }
    });
    let pause = async {
        while sale.stock(product_id).await > 999_900 {}
        sale.clients().pause(product_id, true).await.unwrap();
        let left = sale.stock(product_id).await;
        for clients in &callers {
            assert_refused(clients.hold(product_id, 1).await, Code::FailedPrecondition, "SALE_PAUSED");
        }
        left
    };
    let (held, left) = tokio::join!(holders, pause);
    let held: Vec<i64> = held.into_iter().flatten().collect();
    assert_eq!(sale.stock(product_id).await, left, "nothing was held after the pause was answered");
    assert_eq!(i64::try_from(held.len()).unwrap(), 1_000_000 - left);
    for hold_id in held.iter().rev().take(50) {
        sale.clients().order(*hold_id).await.unwrap();
    }
    sale.clients().pause(product_id, false).await.unwrap();
    sale.clients().hold(product_id, 1).await.unwrap();
    drop(callers);
    second_server.stop().await;
    sale.finish().await;
}

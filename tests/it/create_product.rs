//! Tests CreateProduct.

use flashsale::pb::CreateProductRequest;
use prost_types::Timestamp;
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{Clients, assert_refused},
    sale::{bad_fields, product},
    server::Sale,
};

fn second(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// Makes a request with every field set, and the request_id `r`.
fn full() -> CreateProductRequest {
    CreateProductRequest {
        max_per_buyer: Some(3),
        starts_at: second(1_000_000_000),
        ends_at: second(4_102_444_800),
        request_id: Some("r".to_owned()),
        ..product(10)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_all_named_and_nothing_is_stored() {
    let sale = Sale::start("bad_fields_of_a_product").await;
    let name = |name: &str| CreateProductRequest { name: name.to_owned(), ..full() };
    let request_id = |id: &str| CreateProductRequest { request_id: Some(id.to_owned()), ..full() };
    let out_of_range = Some(Timestamp { seconds: 0, nanos: 1_000_000_000 });
    let all_bad = CreateProductRequest {
        name: String::new(),
        price_cents: i64::MIN,
        total_stock: i64::MIN,
        max_per_buyer: Some(i32::MIN),
        starts_at: second(-1),
        ends_at: second(i64::MAX),
        request_id: Some(" ".to_owned()),
    };
    for (request, fields) in [
        (name(""), vec!["name"]),
        (name(&"é".repeat(256)), vec!["name"]),
        (CreateProductRequest { price_cents: -1, ..full() }, vec!["price_cents"]),
        (CreateProductRequest { total_stock: -1, ..full() }, vec!["total_stock"]),
        (CreateProductRequest { max_per_buyer: Some(0), ..full() }, vec!["max_per_buyer"]),
        (CreateProductRequest { max_per_buyer: Some(-1), ..full() }, vec!["max_per_buyer"]),
        (CreateProductRequest { starts_at: out_of_range, ..full() }, vec!["starts_at"]),
        (CreateProductRequest { ends_at: second(253_402_300_800), ..full() }, vec!["ends_at"]),
        (CreateProductRequest { ends_at: full().starts_at, ..full() }, vec!["ends_at"]),
        (CreateProductRequest { ends_at: second(999_999_999), ..full() }, vec!["ends_at"]),
        (request_id(""), vec!["request_id"]),
        (request_id(&"x".repeat(256)), vec!["request_id"]),
        (request_id("ß\t"), vec!["request_id"]),
        (all_bad, vec!["name", "price_cents", "total_stock", "max_per_buyer", "starts_at", "ends_at", "request_id"]),
    ] {
        let refused = sale.clients().try_create_product(request.clone()).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields, "{request:?}");
    }
    assert_eq!(sale.count("products").await, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_at_their_bounds_are_taken_and_read_back() {
    let sale = Sale::start("a_product_at_the_bounds").await;
    for request in [
        CreateProductRequest { name: "é".repeat(255), ..product(0) },
        CreateProductRequest { name: " \t\u{a0}".to_owned(), ..product(0) },
        CreateProductRequest { name: "𝄞 'quoted' \\ \"x\" -- \0".to_owned(), price_cents: 0, ..product(1) },
        CreateProductRequest { price_cents: i64::MAX, ..product(i64::MAX) },
        CreateProductRequest { max_per_buyer: Some(1), ..product(1) },
        CreateProductRequest { max_per_buyer: Some(i32::MAX), ..product(1) },
        CreateProductRequest { starts_at: second(0), ends_at: second(1), ..product(1) },
        CreateProductRequest { ends_at: second(253_402_300_799), ..product(1) },
        CreateProductRequest { request_id: Some("~".repeat(64)), ..product(1) },
    ] {
        let made = sale.clients().try_create_product(request.clone()).await.unwrap();
        assert_eq!((&made.name, made.price_cents), (&request.name, request.price_cents));
        assert_eq!((made.total_stock, made.available_stock), (request.total_stock, request.total_stock));
        assert_eq!((made.max_per_buyer, made.paused), (request.max_per_buyer, false));
        assert_eq!((made.starts_at, made.ends_at), (request.starts_at, request.ends_at));
        assert_eq!(sale.clients().product(made.product_id).await.unwrap(), made);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_the_same_request_id_returns_the_product_as_it_was_made() {
    let sale = Sale::start("a_repeat_returns_the_product").await;
    let first = sale.clients().try_create_product(full()).await.unwrap();
    sale.database
        .execute(
            "UPDATE products SET name = 'Boot', price_cents = 9, total_stock = 5, available_stock = 5, \
             max_per_buyer = NULL, starts_at = NULL, ends_at = NULL, paused = TRUE",
        )
        .await;
    assert_eq!(sale.clients().try_create_product(full()).await.unwrap(), first);
    assert_eq!(sale.count("products").await, 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_with_any_other_argument_is_refused() {
    let sale = Sale::start("a_products_request_id_is_reused").await;
    sale.clients().try_create_product(full()).await.unwrap();
    for other in [
        CreateProductRequest { name: "shoe".to_owned(), ..full() },
        CreateProductRequest { price_cents: 1001, ..full() },
        CreateProductRequest { total_stock: 11, ..full() },
        CreateProductRequest { max_per_buyer: None, ..full() },
        CreateProductRequest { max_per_buyer: Some(4), ..full() },
        CreateProductRequest { starts_at: None, ..full() },
        CreateProductRequest { starts_at: Some(Timestamp { seconds: 1_000_000_000, nanos: 1_000 }), ..full() },
        CreateProductRequest { ends_at: None, ..full() },
        CreateProductRequest { ends_at: second(4_102_444_801), ..full() },
    ] {
        let refused = sale.clients().try_create_product(other).await;
        assert_refused(refused, Code::AlreadyExists, "REQUEST_ID_REUSED");
    }
    assert_eq!(sale.count("products").await, 1);
    let upper = CreateProductRequest { request_id: Some("R".to_owned()), ..full() };
    sale.clients().try_create_product(upper).await.unwrap();
    for _ in 0..2 {
        sale.clients().try_create_product(CreateProductRequest { request_id: None, ..full() }).await.unwrap();
    }
    assert_eq!(sale.count("products").await, 4, "other ids and none make products of their own");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_id_at_the_same_moment_makes_one_product() {
    let sale = Sale::start("one_request_id_makes_one_product").await;
    let second = sale.second_server().await;
    let mut callers = Clients::connect_several(&sale.server.address(), 4).await;
    callers.extend(Clients::connect_several(&second.address(), 4).await);
    for round in 0..10 {
        let request = CreateProductRequest { request_id: Some(format!("r{round}")), ..full() };
        let calls = at_once(callers.len(), |number| {
            let (clients, request) = (callers[number].clone(), request.clone());
            async move { clients.try_create_product(request).await }
        });
        let made: Vec<_> = calls.await.into_iter().map(Result::unwrap).collect();
        assert!(made.iter().all(|product| *product == made[0]), "{made:?}");
        assert_eq!(sale.count("products").await, round + 1);
    }
    drop(callers);
    second.stop().await;
    sale.finish().await;
}

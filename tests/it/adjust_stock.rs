//! Tests AdjustStock.

use flashsale::pb::{AdjustStockRequest, PaymentStatus, Product};
use tonic::{Code, Status};

use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata, reason},
    sale::{bad_fields, missing, product},
    server::Sale,
};

fn stock(product: &Product) -> (i64, i64) {
    (product.total_stock, product.available_stock)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_changes_total_and_available_and_is_written_down() {
    let sale = Sale::start("an_adjustment_is_written_down").await;
    let product_id = sale.product(100).await;
    sale.clients().hold(product_id, 30).await.unwrap();
    let request = |delta, reason: &str, request_id: &str| AdjustStockRequest {
        product_id,
        delta,
        reason: reason.to_owned(),
        request_id: request_id.to_owned(),
    };
    let long = "é".repeat(1000);
    for (delta, reason, expected) in
        [(20, "20 more came", (120, 90)), (-90, long.as_str(), (30, 0)), (1, "'; -- \\ 𝄞\0", (31, 1))]
    {
        let adjusted = sale.clients().adjust_by(request(delta, reason, &format!("r{delta}"))).await.unwrap();
        assert_eq!(stock(&adjusted), expected);
        assert_eq!(sale.clients().product(product_id).await.unwrap(), adjusted);
        let row = format!(
            "stock_adjustments WHERE product_id = {product_id} AND delta = {delta} AND request_id = 'r{delta}' \
             AND BINARY HEX(reason) = '{}' AND total_stock = {} AND available_stock = {} \
             AND ABS(TIMESTAMPDIFF(SECOND, created_at, UTC_TIMESTAMP(6))) < 60",
            reason.bytes().map(|byte| format!("{byte:02X}")).collect::<String>(),
            expected.0,
            expected.1
        );
        assert_eq!(sale.count(&row).await, 1, "{reason}");
    }
    assert_eq!(sale.count("stock_adjustments").await, 3);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_or_sold_is_never_taken_away() {
    let sale = Sale::start("what_is_sold_is_never_taken").await;
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.ordered(product_id, 2).await;
    let paid = sale.ordered(product_id, 3).await;
    sale.clients().pay("k", paid.order_id, PaymentStatus::Success).await.unwrap();

    for (delta, requested) in [(-5, "5"), (-10, "10"), (-i64::MAX, "9223372036854775807")] {
        let refused = sale.clients().adjust(product_id, delta, "down").await;
        let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
        let metadata = metadata(&status);
        assert_eq!(metadata["productId"], product_id.to_string());
        assert_eq!((metadata["requested"].as_str(), metadata["availableStock"].as_str()), (requested, "4"));
    }
    assert_eq!(
        sale.count("stock_adjustments").await,
        0,
        "a refused adjustment leaves nothing, also not its request_id"
    );
    let adjusted = sale.clients().adjust(product_id, -4, "down").await.unwrap();
    assert_eq!(stock(&adjusted), (6, 0));
    assert_refused(sale.clients().adjust(product_id, -1, "more").await, Code::FailedPrecondition, "OUT_OF_STOCK");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_returns_the_first_result_and_changes_nothing() {
    let sale = Sale::start("a_repeated_adjustment").await;
    let product_id = sale.product(10).await;
    let first = sale.clients().adjust(product_id, 5, "r").await.unwrap();
    assert_eq!(sale.clients().adjust(product_id, 5, "r").await.unwrap(), first);
    let last = sale.clients().adjust(product_id, -15, "s").await.unwrap();
    assert_eq!(stock(&last), (0, 0));
    assert_eq!(sale.clients().adjust(product_id, 5, "r").await.unwrap(), first, "also when much has happened since");
    assert_eq!(sale.clients().adjust(product_id, -15, "s").await.unwrap(), last, "also where it would now be refused");
    assert_eq!((sale.stock(product_id).await, sale.count("stock_adjustments").await), (0, 2));

    let paused = sale.clients().pause(product_id, true).await.unwrap();
    let again = sale.clients().adjust(product_id, 5, "r").await.unwrap();
    assert_eq!(again, Product { paused: true, ..first }, "all but the stock is as it is now");
    assert_eq!(stock(&paused), (0, 0));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_with_another_delta_or_reason_is_refused() {
    let sale = Sale::start("an_adjustments_request_id_is_reused").await;
    let (product_id, other_id) = (sale.product(10).await, sale.product(10).await);
    let first = AdjustStockRequest { product_id, delta: 5, reason: "a".to_owned(), request_id: "r".to_owned() };
    sale.clients().adjust_by(first.clone()).await.unwrap();
    for other in [
        AdjustStockRequest { delta: 6, ..first.clone() },
        AdjustStockRequest { delta: -5, ..first.clone() },
        AdjustStockRequest { reason: "A".to_owned(), ..first.clone() },
        AdjustStockRequest { reason: "a ".to_owned(), ..first.clone() },
    ] {
        assert_refused(sale.clients().adjust_by(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    }
    assert_eq!((sale.stock(product_id).await, sale.count("stock_adjustments").await), (15, 1));
    // A request_id belongs to one product, and is compared byte for byte.
    sale.clients().adjust_by(AdjustStockRequest { product_id: other_id, delta: 1, ..first.clone() }).await.unwrap();
    sale.clients().adjust_by(AdjustStockRequest { request_id: "R".to_owned(), ..first }).await.unwrap();
    assert_eq!((sale.stock(product_id).await, sale.stock(other_id).await), (20, 11));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_all_named() {
    let sale = Sale::start("bad_fields_of_an_adjustment").await;
    let product_id = sale.product(10).await;
    let good = AdjustStockRequest { product_id, delta: 1, reason: "r".to_owned(), request_id: "r".to_owned() };
    let reason = |reason: &str| AdjustStockRequest { reason: reason.to_owned(), ..good.clone() };
    for (request, fields) in [
        (AdjustStockRequest { product_id: 0, ..good.clone() }, vec!["product_id"]),
        (AdjustStockRequest { delta: 0, ..good.clone() }, vec!["delta"]),
        (AdjustStockRequest { delta: i64::MIN, ..good.clone() }, vec!["delta"]),
        (AdjustStockRequest { delta: i64::MAX, ..good.clone() }, vec!["delta"]),
        (AdjustStockRequest { request_id: String::new(), ..good.clone() }, vec!["request_id"]),
        (AdjustStockRequest { request_id: " a".to_owned(), ..good.clone() }, vec!["request_id"]),
        (reason(""), vec!["reason"]),
        (reason(""), vec!["reason"]),
        (reason(&"é".repeat(1001)), vec!["reason"]),
        (AdjustStockRequest::default(), vec!["product_id", "delta", "reason", "request_id"]),
    ] {
        let refused = sale.clients().adjust_by(request.clone()).await;
        let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert_eq!(bad_fields(&status), fields, "{request:?}");
    }
    let unknown = sale.clients().adjust(product_id + 1, 1, "r").await;
    let status = assert_refused(unknown, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(missing(&status), ("flashsale.v1.Product".to_owned(), (product_id + 1).to_string()));
    assert_eq!((sale.stock(product_id).await, sale.count("stock_adjustments").await), (10, 0));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_stock_is_taken_and_never_exceeded() {
    let sale = Sale::start("the_largest_stock").await;
    let request = flashsale::pb::CreateProductRequest { price_cents: 1, ..product(i64::MAX - 1) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;
    sale.clients().hold(product_id, i32::MAX).await.unwrap();
    let refused = sale.clients().adjust(product_id, 2, "too-much").await;
    let status = assert_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["delta"], "available would fit, the total wouldn't");
    let adjusted = sale.clients().adjust(product_id, 1, "just-right").await.unwrap();
    assert_eq!(stock(&adjusted), (i64::MAX, i64::MAX - i64::from(i32::MAX)));
    let stats = sale.clients().stats(product_id).await.unwrap();
    assert_eq!((stats.total_stock, stats.held_stock), (i64::MAX, i64::from(i32::MAX)));
    sale.expire_all_holds().await;
    let down = -(i64::MAX - i64::from(i32::MAX));
    let adjusted = sale.clients().adjust(product_id, down, "all").await.unwrap();
    assert_eq!(stock(&adjusted), (i64::from(i32::MAX), i64::from(i32::MAX)), "what the hold had is available");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_at_the_same_moment_adjusts_once() {
    let sale = Sale::start("one_request_adjusts_once").await;
    let second = sale.second_server().await;
    let product_id = sale.product(100).await;
    for round in 0..5 {
        let results = at_once(20, |number| {
            let clients = if number % 2 == 0 { sale.clients() } else { &second.clients }.clone();
            async move { clients.adjust(product_id, -7, &format!("r{round}")).await.unwrap() }
        });
        let results = results.await;
        assert!(results.iter().all(|adjusted| *adjusted == results[0]), "{results:?}");
        assert_eq!(sale.stock(product_id).await, 100 - 7 * (round + 1));
        assert_eq!(sale.count("stock_adjustments").await, round + 1);
    }
    second.stop().await;
    sale.finish().await;
}

/// 60 holds and 60 adjustments ask for two of 100 units each, and exactly 50 of them get theirs.
#[tokio::test(flavor = "multi_thread")]
async fn stock_that_is_taken_down_among_holds_is_never_taken_twice() {
    let sale = Sale::start("stock_down_among_holds").await;
    let second = sale.second_server().await;
    let product_id = sale.product(100).await;
    let results: Vec<(bool, Result<(), Status>)> = at_once(120, |number| {
        let clients = if number % 4 < 2 { sale.clients() } else { &second.clients }.clone();
        async move {
            let is_hold = number % 2 == 0;
            let result = if is_hold {
                clients.hold(product_id, 2).await.map(|_| ())
            } else {
                clients.adjust(product_id, -2, &format!("r{number}")).await.map(|_| ())
            };
            (is_hold, result)
        }
    })
    .await;
    for (_, refused) in &results {
        assert!(refused.as_ref().err().is_none_or(|status| reason(status) == "OUT_OF_STOCK"), "{refused:?}");
    }
    let granted = |holds: bool| {
        let count = results.iter().filter(|(is_hold, result)| *is_hold == holds && result.is_ok()).count();
        i64::try_from(count).unwrap()
    };
    let (held, taken) = (granted(true), granted(false));
    assert_eq!(held + taken, 50);
    let stats = sale.clients().stats(product_id).await.unwrap();
    assert_eq!((stats.total_stock, stats.available_stock, stats.held_stock), (100 - 2 * taken, 0, 2 * held));
    assert_eq!(sale.count("stock_adjustments").await, taken);
    second.stop().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restocked_units_of_a_sold_out_product_are_sold_by_the_very_next_call() {
    let sale = Sale::start("restocked_units_are_sold").await;
    let second = sale.second_server().await;
    let product_id = sale.product(1).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    for _ in 0..3 {
        assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    }
    second.clients.adjust(product_id, 1, "r").await.unwrap();
    sale.clients().hold(product_id, 1).await.unwrap();
    second.stop().await;
    sale.finish().await;
}

//! request_id: a repeat gets the first answer again. Another request with the same request_id is refused.

use std::time::{Duration, UNIX_EPOCH};

use flashsale::{
    checkout::{Settings, expire_holds::expire_holds},
    pb::{CreateHoldRequest, Hold, HoldStatus, PaymentStatus},
};
use tonic::Code;

use crate::support::{
    client::assert_refused,
    sale::{hold_of, repeatable_hold},
    server::{Sale, default_settings},
};

fn repeatable_hold_of(buyer_id: &str, product_id: i64, qty: i32) -> CreateHoldRequest {
    CreateHoldRequest { request_id: Some("r".to_owned()), ..hold_of(buyer_id, product_id, qty) }
}

/// Rule 7: a repeat of CreateHold with the same request_id and arguments returns the same hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_the_same_request_id_returns_the_first_hold() {
    let sale = Sale::start("a_repeat_returns_the_first_hold").await;
    let product_id = sale.product(10).await;
    let longest = "x".repeat(64);
    for request_id in ["r", "!~", longest.as_str()] {
        let request = CreateHoldRequest {
            request_id: Some(request_id.to_owned()),
            buyer_id: Some("ann".to_owned()),
            ..repeatable_hold(product_id, 2, "")
        };
        let first = sale.clients().hold_by(request.clone()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(sale.clients().hold_by(request.clone()).await.unwrap(), first);
        }
    }
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (4, 3));
    sale.finish().await;
}

/// Rule 7: a repeat with other arguments gets REQUEST_ID_REUSED.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_with_other_arguments_is_refused() {
    let sale = Sale::start("a_request_id_with_other_arguments").await;
    let product_id = sale.product(10).await;
    sale.clients().hold_by(repeatable_hold_of("ann", product_id, 2)).await.unwrap();
    for other in [
        repeatable_hold_of("ann", product_id, 1),
        repeatable_hold_of("Ann", product_id, 2),
        repeatable_hold_of("bob", product_id, 2),
        repeatable_hold(product_id, 2, "r"),
    ] {
        assert_refused(sale.clients().hold_by(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    }
    sale.clients().hold_by(repeatable_hold(product_id, 2, "s")).await.unwrap();
    let named = CreateHoldRequest { buyer_id: Some("ann".to_owned()), ..repeatable_hold(product_id, 2, "s") };
    assert_refused(sale.clients().hold_by(named).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (6, 2));
    sale.finish().await;
}

/// Rule 7: request_id is unique per product for holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_one_products_and_counts_its_case() {
    let sale = Sale::start("a_request_id_is_one_products").await;
    let (one, other) = (sale.product(10).await, sale.product(10).await);
    sale.clients().hold_by(repeatable_hold(one, 1, "r")).await.unwrap();
    sale.clients().hold_by(repeatable_hold(other, 2, "r")).await.unwrap();
    sale.clients().hold_by(repeatable_hold(one, 3, "R")).await.unwrap();
    assert_eq!((sale.stock(one).await, sale.stock(other).await), (6, 8));
    sale.finish().await;
}

/// Rule 8: a replay gets the first answer again, also when the product is sold out or paused, or the limit is reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_answered_as_the_first_time_whatever_became_of_the_sale() {
    let sale = Sale::start("a_replay_whatever_became_of_the_sale").await;
    for change in [
        "paused = TRUE",
        "starts_at = '2100-01-01'",
        "ends_at = '2000-01-01'",
        "max_per_buyer = 1",
        "price_cents = 9",
        "total_stock = total_stock - available_stock, available_stock = 0",
    ] {
        let product_id = sale.product(10).await;
        let first = sale.clients().hold_by(repeatable_hold_of("ann", product_id, 2)).await.unwrap();
        sale.database.execute(&format!("UPDATE products SET {change} WHERE id = {product_id}")).await;
        let again = sale.clients().hold_by(repeatable_hold_of("ann", product_id, 2)).await;
        assert_eq!(again.unwrap(), first, "after {change}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_what_became_of_the_hold() {
    let sale = Sale::start("a_replay_whatever_became_of_the_hold").await;
    for (fate, status) in [
        ("released", HoldStatus::Cancelled),
        ("used", HoldStatus::Used),
        ("paid", HoldStatus::Used),
        ("cancelled", HoldStatus::Cancelled),
    ] {
        let product_id = sale.product(2).await;
        let request = repeatable_hold(product_id, 2, "r");
        let first = sale.clients().hold_by(request.clone()).await.unwrap();
        let order = async || sale.clients().order(first.hold_id).await.unwrap();
        let pay = async |status| sale.clients().pay(fate, order().await.order_id, status).await.unwrap();
        match fate {
            "released" => _ = sale.clients().release(first.hold_id).await.unwrap(),
            "used" => _ = order().await,
            "paid" => _ = pay(PaymentStatus::Success).await,
            _ => _ = pay(PaymentStatus::Failure).await,
        }
        let stock = sale.stock(product_id).await;
        let now = Hold { status: status.into(), ..first };
        assert_eq!(sale.clients().hold_by(request).await.unwrap(), now, "after it was {fate}");
        assert_eq!(sale.stock(product_id).await, stock, "after it was {fate}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_that_the_hold_expired_swept_or_not() {
    let at_once = Settings { hold_ttl: Duration::ZERO, ..default_settings() };
    let sale = Sale::start_with("a_replay_of_an_expired_hold", at_once).await;
    let product_id = sale.product(2).await;
    let request = repeatable_hold(product_id, 2, "r");
    let first = sale.clients().hold_by(request.clone()).await.unwrap();
    let now = Hold { status: HoldStatus::Expired.into(), ..first.clone() };
    assert_eq!(sale.clients().hold_by(request.clone()).await.unwrap(), now, "expired, but not swept");
    assert_eq!(sale.hold_status(first.hold_id).await, "active");

    assert_eq!(expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap().rows, 1);
    assert_eq!(sale.clients().hold_by(request).await.unwrap(), now, "swept");
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (2, 1));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_requests_id_stays_usable() {
    let sale = Sale::start("a_refused_requests_id").await;
    let product_id = sale.product(2).await;
    let refused = sale.clients().hold_by(repeatable_hold(product_id, 3, "r")).await;
    assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(sale.clients().hold_by(repeatable_hold(product_id, 2, "r")).await.unwrap().qty, 2);
    sale.finish().await;
}

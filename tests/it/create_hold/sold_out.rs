//! A sold-out product is refused by a read without a lock. That path may never answer what is no longer so.

use flashsale::{
    checkout::{Checkout, CreateHold, request_id_or_made_up},
    domain::{ProductId, Quantity},
    pb::PaymentStatus,
};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    proxy::{Counts, Proxy},
    sale::{bad_fields, hold_of, repeatable_hold},
    server::{Sale, database_config, default_settings},
};

/// Asks until nothing is left, and then often enough for the shortest path.
async fn sell_out(sale: &Sale, product_id: i64) {
    while sale.clients().hold(product_id, 1).await.is_ok() {}
    for _ in 0..3 {
        let status = assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
        assert_eq!(metadata(&status)["availableStock"], "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_comes_back_is_sold_by_the_very_next_call() {
    let sale = Sale::start("stock_comes_back").await;
    let product_id = sale.product(1).await;

    let hold = sale.clients().hold(product_id, 1).await.unwrap();
    sell_out(&sale, product_id).await;
    sale.clients().release(hold.hold_id).await.unwrap();
    let hold = sale.clients().hold(product_id, 1).await.unwrap();

    sell_out(&sale, product_id).await;
    let order = sale.clients().order(hold.hold_id).await.unwrap();
    sale.clients().pay("failed", order.order_id, PaymentStatus::Failure).await.unwrap();
    sale.clients().hold(product_id, 1).await.unwrap();

    sell_out(&sale, product_id).await;
    sale.expire_all_holds().await;
    sale.clients().hold(product_id, 1).await.unwrap();

    sell_out(&sale, product_id).await;
    sale.database.execute("UPDATE products SET total_stock = 2, available_stock = 1").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_another_server_gives_back_is_sold_by_the_very_next_call() {
    let sale = Sale::start("stock_comes_back_elsewhere").await;
    let second = sale.second_server().await;
    let product_id = sale.product(1).await;
    let hold = second.clients.hold(product_id, 1).await.unwrap();
    sell_out(&sale, product_id).await;
    second.clients.release(hold.hold_id).await.unwrap();
    sale.clients().hold(product_id, 1).await.unwrap();
    second.stop().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_many_units_does_not_stand_in_the_way_of_fewer() {
    let sale = Sale::start("many_refused_few_granted").await;
    let product_id = sale.product(2).await;
    for _ in 0..3 {
        let refused = sale.clients().hold(product_id, 3).await;
        let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
        assert_eq!(metadata(&status)["availableStock"], "2");
    }
    sale.clients().hold(product_id, 2).await.unwrap();
    sale.finish().await;
}

/// Rule 8: a replay is answered as the first time, also when sold out.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_answered_also_when_sold_out() {
    let sale = Sale::start("a_replay_when_sold_out").await;
    let product_id = sale.product(1).await;
    let first = sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await.unwrap();
    sell_out(&sale, product_id).await;
    assert_eq!(sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await.unwrap(), first);
    let reused = sale.clients().hold_by(repeatable_hold(product_id, 2, "r")).await;
    assert_refused(reused, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let new = sale.clients().hold_by(repeatable_hold(product_id, 1, "new")).await;
    assert_refused(new, Code::FailedPrecondition, "OUT_OF_STOCK");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn being_sold_out_hides_no_other_reason() {
    let sale = Sale::start("sold_out_hides_nothing").await;
    let product_id = sale.product(1).await;
    sell_out(&sale, product_id).await;

    for (change, reason) in [
        ("paused = TRUE", "SALE_PAUSED"),
        ("paused = FALSE, starts_at = '2100-01-01'", "SALE_NOT_STARTED"),
        ("starts_at = NULL, ends_at = '2000-01-01'", "SALE_ENDED"),
        ("ends_at = NULL", "OUT_OF_STOCK"),
    ] {
        sale.database.execute(&format!("UPDATE products SET {change}")).await;
        assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, reason);
    }

    sale.database.execute("UPDATE products SET max_per_buyer = 1").await;
    let anonymous = assert_refused(sale.clients().hold(product_id, 1).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&anonymous), ["buyer_id"]);
    let greedy = sale.clients().hold_by(hold_of("ann", product_id, 2)).await;
    assert_refused(greedy, Code::FailedPrecondition, "BUYER_LIMIT");

    sale.database.execute("UPDATE products SET max_per_buyer = NULL").await;
    sell_out(&sale, product_id).await;
    sale.database.execute(&format!("UPDATE products SET price_cents = {}", i64::MAX)).await;
    let too_much = assert_refused(sale.clients().hold(product_id, 2).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&too_much), ["qty"]);
    sale.finish().await;
}

/// One statement sees one moment: stock that a sweep moves from an expired hold to the product is in the one or in the
/// other. Two statements could see it in neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_lock_is_decided_by_one_statement() {
    let sale = Sale::start("refused_by_one_statement").await;
    let product_id = sale.product(1).await;
    let proxy = Proxy::start(sale.database.port()).await;
    // Without a server, whose own looks at the database would count.
    let config = database_config(&sale.database.url_at(proxy.port()), 1);
    let checkout = Checkout::open(&config, default_settings()).unwrap();
    let hold = async || {
        let product_id = ProductId::stored(product_id);
        let (qty, request_id) = (Quantity::parse(1).unwrap(), request_id_or_made_up(None));
        checkout.create_hold(CreateHold { product_id, qty, request_id, buyer_id: None }).await
    };
    hold().await.unwrap();
    for _ in 0..2 {
        hold().await.unwrap_err();
    }
    let before = proxy.counts();
    hold().await.unwrap_err();
    assert_eq!(proxy.counts(), Counts { executes: before.executes + 1, ..before });
    checkout.close().await;
    sale.finish().await;
}

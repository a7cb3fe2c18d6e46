//! Shows that units past their time are available in every answer that tells the stock, taken back or not.
//!
//! What a read finds is taken back in the background.

mod in_background;

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use flashsale::{
    checkout::{cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    domain::ProductId,
    pb::{AdjustStockRequest, GetSaleStatsResponse, PaymentStatus, Product},
};
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata, reason},
    counted::CountedCheckout,
    server::Sale,
};

/// Makes a product of 10 units, 2 of which its row says are available.
///
/// 3 are in an expired hold and 2 in an overdue order. A hold, a pending order and a paid order have one each.
async fn partly_lapsed(sale: &Sale) -> i64 {
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 3).await.unwrap();
    sale.ordered(product_id, 2).await;
    sale.expire_all_holds().await;
    sale.let_all_orders_be_overdue().await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.ordered(product_id, 1).await;
    let paid = sale.ordered(product_id, 1).await;
    sale.clients().pay("paid", paid.order_id, PaymentStatus::Success).await.unwrap();
    product_id
}

#[tokio::test(flavor = "multi_thread")]
async fn get_product_counts_what_is_past_its_time_as_available() {
    let sale = Sale::start("get_product_counts_lapsed").await;
    let product_id = partly_lapsed(&sale).await;
    assert_eq!((sale.stored_stock(product_id).await, sale.stock(product_id).await), (2, 7));
    sale.clients().hold(product_id, 7).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_count_what_is_past_its_time_as_available_and_balance() {
    let sale = Sale::start("the_books_count_lapsed").await;
    let product_id = partly_lapsed(&sale).await;
    let expected = GetSaleStatsResponse {
        total_stock: 10,
        available_stock: 7,
        held_stock: 1,
        pending_stock: 1,
        paid_stock: 1,
        holds_active: 1,
        holds_used: 3,
        holds_expired: 1,
        holds_cancelled: 0,
        orders_pending: 2,
        orders_paid: 1,
        orders_cancelled: 0,
    };
    assert_eq!(sale.clients().stats(product_id).await.unwrap(), expected);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_product_is_answered_with_what_is_past_its_time() {
    let sale = Sale::start("a_changed_product_with_lapsed").await;
    let product_id = partly_lapsed(&sale).await;
    let updated = sale.clients().pause(product_id, true).await.unwrap();
    assert_eq!((updated.total_stock, updated.available_stock), (10, 7));

    let by = async |delta| {
        let answer = sale.clients().adjust(product_id, delta, &format!("r{delta}")).await.unwrap();
        (answer.total_stock, answer.available_stock)
    };
    assert_eq!(by(5).await, (15, 12));
    assert_eq!(by(-1).await, (14, 11));
    assert_eq!(sale.stored_stock(product_id).await, 6, "there was enough");
    assert_eq!(by(-11).await, (3, 0));
    assert_eq!(by(5).await, (15, 12), "a repeat is answered as the first was");
    assert_eq!(sale.stored_stock(product_id).await, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_stock_says_how_much_could_be_held() {
    let sale = Sale::start("out_of_stock_counts_lapsed").await;
    let product_id = partly_lapsed(&sale).await;
    let refused = sale.clients().hold(product_id, 8).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "7");
    sale.clients().hold(product_id, 7).await.unwrap();
    sale.finish().await;
}

/// The product is known to be sold out, so refusals are decided without a lock.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_out_says_how_much_could_be_held_as_soon_as_it_is_past_its_time() {
    let sale = Sale::start("sold_out_counts_lapsed").await;
    let product_id = sale.product(5).await;
    let lapsing = sale.clients().hold(product_id, 2).await.unwrap();
    sale.clients().hold(product_id, 3).await.unwrap();
    let available = async |qty| {
        let refused = sale.clients().hold(product_id, qty).await;
        metadata(&assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK"))["availableStock"].clone()
    };
    for _ in 0..3 {
        assert_eq!(available(1).await, "0");
    }
    let sql = "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE id =";
    sale.database.move_times(&format!("{sql} {}", lapsing.hold_id)).await;
    assert_eq!(available(3).await, "2");
    sale.clients().hold(product_id, 2).await.unwrap();
    sale.finish().await;
}

/// One statement sees one moment, so a unit that a sweep moves from a hold to the product is seen once. Two statements
/// could see it twice or never.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_one_statement() {
    let sale = Sale::start("a_read_is_one_statement").await;
    let product_id = ProductId::stored(sale.product(1).await);
    let counted = CountedCheckout::open(&sale.database).await;
    counted.checkout.get_product(product_id).await.unwrap();
    let (_, sent) = counted.count(counted.checkout.get_product(product_id)).await;
    assert_eq!((sent.executes, sent.queries), (1, 0), "the name is known");
    let (_, sent) = counted.count(counted.checkout.get_sale_stats(product_id)).await;
    assert_eq!((sent.executes, sent.queries), (1, 0));
    counted.close().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_takes_back_what_it_is_short_of_and_orders_last() {
    let sale = Sale::start("an_adjustment_takes_back").await;
    let product_id = sale.product(7).await;
    let held = sale.clients().hold(product_id, 3).await.unwrap();
    let order = sale.ordered(product_id, 2).await;
    sale.expire_all_holds().await;
    sale.let_all_orders_be_overdue().await;
    sale.clients().hold(product_id, 1).await.unwrap();

    let adjusted = sale.clients().adjust(product_id, -3, "three").await.unwrap();
    assert_eq!((adjusted.total_stock, adjusted.available_stock), (4, 3));
    assert_eq!(sale.hold_status(held.hold_id).await, "expired");
    assert_eq!(sale.order_status(order.order_id).await, "pending", "a payment may still come");
    let adjusted = sale.clients().adjust(product_id, -2, "two").await.unwrap();
    assert_eq!((adjusted.total_stock, adjusted.available_stock), (2, 1));
    assert_eq!(sale.order_status(order.order_id).await, "cancelled");
    assert_eq!(sale.stored_stock(product_id).await, 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_that_is_refused_cancels_nobodys_order() {
    let sale = Sale::start("a_refused_adjustment_cancels_none").await;
    let product_id = sale.product(3).await;
    let order = sale.ordered(product_id, 2).await;
    sale.let_all_orders_be_overdue().await;
    for delta in [-4, -i64::MAX] {
        let refused = sale.clients().adjust(product_id, delta, "r").await;
        let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
        assert_eq!(metadata(&status)["availableStock"], "3");
    }
    assert_eq!(sale.order_status(order.order_id).await, "pending");
    assert_eq!((sale.stored_stock(product_id).await, sale.count("stock_adjustments").await), (1, 0));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_takes_back_more_than_one_transaction_may() {
    let sale = Sale::start("an_adjustment_of_many_transactions").await;
    let product_id = sale.with_expired_holds(10_200).await;
    let adjusted = sale.clients().adjust(product_id, -10_150, "r").await.unwrap();
    assert_eq!((adjusted.total_stock, adjusted.available_stock), (50, 50));
    assert_eq!(sale.stock(product_id).await, 50);
    sale.finish().await;
}

/// The refusal tells the units that nobody has locked, and a repeat of the adjustment gets all later.
#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_waits_for_nothing_that_somebody_has_locked() {
    let sale = Sale::start("an_adjustment_waits_for_nothing").await;
    let product_id = sale.product(2).await;
    let locked = sale.clients().hold(product_id, 1).await.unwrap();
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.expire_all_holds().await;
    let mut holder = sale.database.lock_rows(&format!("holds WHERE id = {}", locked.hold_id)).await;
    let refused = sale.clients().adjust(product_id, -2, "r").await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], "1");
    holder.execute("ROLLBACK").await;
    let adjusted = sale.clients().adjust(product_id, -2, "r").await.unwrap();
    assert_eq!((adjusted.total_stock, adjusted.available_stock), (0, 0));
    sale.finish().await;
}

/// Runs rounds in which three units past their time are wanted, read, swept and taken off sale at two servers.
///
/// No unit is had twice, none is lost, and no read sees more or fewer than there are.
#[tokio::test(flavor = "multi_thread")]
async fn units_past_their_time_are_had_once_whoever_takes_them_back() {
    let sale = Sale::start("lapsed_units_are_had_once").await;
    let second = sale.second_server().await;
    let database = sale.sweeper_database();
    let mut outcomes = BTreeSet::new();
    for round in 0..30 {
        let product_id = sale.product(3).await;
        for _ in 0..2 {
            sale.clients().hold(product_id, 1).await.unwrap();
        }
        sale.ordered(product_id, 1).await;
        sale.expire_all_holds().await;
        sale.let_all_orders_be_overdue().await;
        let had = at_once(12, |number| {
            let clients = if number % 2 == 0 { sale.clients() } else { &second.clients }.clone();
            let database = database.clone();
            async move {
                match number {
                    0..=3 => {
                        let stats = clients.stats(product_id).await.unwrap();
                        let sum = stats.available_stock + stats.held_stock + stats.pending_stock + stats.paid_stock;
                        assert_eq!(stats.total_stock, sum, "{stats:?}");
                        let Product { total_stock, available_stock, .. } = clients.product(product_id).await.unwrap();
                        assert!((0..=total_stock).contains(&available_stock), "{available_stock} of {total_stock}");
                        0
                    }
                    4 => {
                        expire_holds(&database, UNIX_EPOCH, 10).await.unwrap();
                        cancel_overdue_orders(&database, UNIX_EPOCH, 10).await.unwrap();
                        0
                    }
                    5 | 6 => {
                        let request = AdjustStockRequest {
                            product_id,
                            delta: -1,
                            reason: "broken".to_owned(),
                            request_id: number.to_string(),
                        };
                        had(clients.adjust_by(request).await)
                    }
                    _ => had(clients.hold(product_id, 1).await),
                }
            }
        });
        let had: i64 = had.await.into_iter().sum();
        assert!(had <= 3, "round {round}: {had}");
        assert_eq!(sale.stock(product_id).await, 3 - had, "round {round}");
        sale.database.assert_conserved().await;
        let swept = sale.count(&format!("holds WHERE product_id = {product_id} AND status = 'expired'")).await;
        outcomes.insert((had, swept));
    }
    println!("units had, and holds taken back: {outcomes:?}");
    second.stop().await;
    sale.finish().await;
}

/// Returns 1 for a unit, or 0 where none was left.
fn had<T>(result: Result<T, tonic::Status>) -> i64 {
    match result {
        Ok(_) => 1,
        Err(status) => {
            assert_eq!(reason(&status), "OUT_OF_STOCK");
            0
        }
    }
}

//! Shows that what reads find past its time is taken back in the background, and once.

use std::time::Duration;

use flashsale::{
    domain::ProductId,
    pb::{GetSaleStatsResponse, OrderStatus},
};

use crate::support::{
    counted::CountedCheckout,
    programs::{ServerProgram, lines_of},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

async fn wait_until_none(sale: &Sale, from: &str) {
    wait::eventually(LIMIT, "what a read has found to be taken back", async || sale.count(from).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_finds_is_taken_back_and_logged() {
    let sale = Sale::start("what_a_read_finds").await;
    let server = ServerProgram::start(&sale.database.url(), &[]).await;
    let product_id = sale.product(5).await;
    let mut held = Vec::new();
    for qty in [2, 3] {
        held.push(sale.clients().hold(product_id, qty).await.unwrap().hold_id);
    }
    sale.expire_all_holds().await;
    assert_eq!(server.clients.available_stock(product_id).await, 5);
    wait_until_none(&sale, "holds WHERE status = 'active'").await;
    assert_eq!((sale.stored_stock(product_id).await, sale.stock(product_id).await), (5, 5));
    let lines = server.stop().await;
    let logged = lines_of(&lines, "Hold expired and stock released");
    let logged: Vec<i64> = logged.iter().map(|line| line["hold_id"].as_i64().unwrap()).collect();
    assert_eq!(logged, held);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_books_find_is_taken_back_too() {
    let sale = Sale::start("what_the_books_find").await;
    let product_id = sale.product(5).await;
    sale.clients().hold(product_id, 5).await.unwrap();
    sale.expire_all_holds().await;
    sale.clients().stats(product_id).await.unwrap();
    wait_until_none(&sale, "holds WHERE status = 'active'").await;
    assert_eq!(sale.stored_stock(product_id).await, 5);
    sale.finish().await;
}

/// Several transactions take the units back, and each read meanwhile sees all of them.
#[tokio::test(flavor = "multi_thread")]
async fn many_holds_are_taken_back_and_every_read_meanwhile_sees_all_of_their_units() {
    let sale = Sale::start("many_holds_a_read_finds").await;
    let product_id = sale.with_expired_holds(3500).await;
    wait::eventually(LIMIT, "all holds to be taken back", async || {
        let GetSaleStatsResponse { available_stock, held_stock, holds_active, holds_expired, .. } =
            sale.clients().stats(product_id).await.unwrap();
        assert_eq!((available_stock, held_stock, holds_active, holds_expired), (3500, 0, 0, 3500));
        assert_eq!(sale.stock(product_id).await, 3500);
        sale.count("holds WHERE status = 'active'").await == 0
    })
    .await;
    assert_eq!(sale.stored_stock(product_id).await, 3500);
    sale.finish().await;
}

/// Makes a product with `count` overdue orders of `qty` units each.
async fn with_overdue_orders(sale: &Sale, count: usize, qty: i32) -> i64 {
    let product_id = sale.product(1000).await;
    let orders = (0..count).map(|_| sale.ordered(product_id, qty));
    futures_util::future::join_all(orders).await;
    sale.let_all_orders_be_overdue().await;
    product_id
}

/// A payment may still come, and other units are enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_few_overdue_orders_are_left_to_the_sweep() {
    let sale = Sale::start("a_few_overdue_orders").await;
    for qty in [1, 2] {
        let product_id = with_overdue_orders(&sale, 99, qty).await;
        let counted = CountedCheckout::open(&sale.database).await;
        let read = counted.checkout.get_product(ProductId::stored(product_id)).await.unwrap();
        assert_eq!(read.product.available_stock, 1000);
        counted.close().await;
        let pending = format!("orders WHERE product_id = {product_id} AND status = 'pending'");
        assert_eq!(sale.count(&pending).await, 99);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_overdue_orders_are_taken_back() {
    let sale = Sale::start("many_overdue_orders").await;
    let product_id = with_overdue_orders(&sale, 100, 2).await;
    assert_eq!(sale.stock(product_id).await, 1000);
    wait_until_none(&sale, "orders WHERE status = 'pending'").await;
    assert_eq!(sale.clients().get_order(1).await.unwrap().status(), OrderStatus::Cancelled);
    assert_eq!((sale.stored_stock(product_id).await, sale.stock(product_id).await), (1000, 1000));
    sale.finish().await;
}

/// There is one connection, which a take-back that waited for a lock would hold.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_locked_is_not_waited_for_and_not_tried_at_each_read() {
    let sale = Sale::start("locked_and_found_by_reads").await;
    // The hold's row is locked, and the product's, which is tried a few times before it is left alone.
    for (table, tries_max) in [("holds", 1), ("products", 20)] {
        let product_id = sale.product(1).await;
        let hold = sale.clients().hold(product_id, 1).await.unwrap();
        sale.expire_all_holds().await;
        let id = if table == "holds" { hold.hold_id } else { product_id };
        let mut holder = sale.database.lock_rows(&format!("{table} WHERE id = {id}")).await;
        let counted = CountedCheckout::open(&sale.database).await;
        let ((), sent) = counted
            .count(async {
                for _ in 0..200 {
                    let read = counted.checkout.get_product(ProductId::stored(product_id)).await.unwrap();
                    assert_eq!(read.product.available_stock, 1, "{table}");
                }
                counted.checkout.close().await;
            })
            .await;
        assert!((1..=tries_max).contains(&sent.commits), "{table}: {sent:?}");
        assert_eq!(sale.hold_status(hold.hold_id).await, "active", "{table}");
        holder.execute("ROLLBACK").await;
        assert_eq!(sale.stock(product_id).await, 1);
        wait_until_none(&sale, &format!("holds WHERE id = {} AND status = 'active'", hold.hold_id)).await;
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_it_after_its_transaction() {
    let sale = Sale::start("a_shutdown_ends_the_take_back").await;
    let product_id = sale.with_expired_holds(20_000).await;
    let counted = CountedCheckout::open(&sale.database).await;
    counted.checkout.get_product(ProductId::stored(product_id)).await.unwrap();
    wait::eventually(LIMIT, "the first to be taken back", async || {
        sale.count("holds WHERE status = 'expired'").await > 0
    })
    .await;
    counted.close().await;
    let taken_back = sale.count("holds WHERE status = 'expired'").await;
    assert!(taken_back % 1000 == 0 && taken_back < 20_000, "{taken_back}");
    assert_eq!(sale.stored_stock(product_id).await, taken_back);
    sale.finish().await;
}

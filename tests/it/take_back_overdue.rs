//! Shows that CreateHold takes overdue orders back when stock is short, so a dead sweeper costs no sales.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::cancel_overdue_orders::cancel_overdue_orders,
    pb::{CreateProductRequest, Order, OrderStatus, PaymentStatus},
};
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{assert_refused, metadata, reason},
    sale::{hold_of, product},
    server::Sale,
};

/// Makes one order overdue by a second.
async fn let_be_overdue(sale: &Sale, order: &Order) {
    let sql = "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND";
    sale.database.move_times(&format!("{sql} WHERE id = {}", order.order_id)).await;
}

async fn assert_short(sale: &Sale, product_id: i64, qty: i32, available: i64) {
    let refused = sale.clients().hold(product_id, qty).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(metadata(&status)["availableStock"], available.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_stock_runs_short_a_hold_takes_back_overdue_orders_without_any_sweeper() {
    let sale = Sale::start("a_hold_takes_back_orders").await;
    let product_id = sale.product(5).await;
    let (one, other) = (sale.ordered(product_id, 2).await, sale.ordered(product_id, 3).await);
    sale.let_all_orders_be_overdue().await;

    sale.clients().hold(product_id, 5).await.unwrap();
    for order in [&one, &other] {
        assert_eq!(sale.clients().get_order(order.order_id).await.unwrap().status(), OrderStatus::Cancelled);
        assert_eq!(sale.hold_status(order.hold_id).await, "cancelled");
    }
    assert_eq!(sale.stock(product_id).await, 0);
    assert_eq!(
        cancel_overdue_orders(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap().rows,
        0,
        "nothing is left to sweep"
    );
    // A payment that comes now is too late.
    assert!(sale.clients().pay("late", one.order_id, PaymentStatus::Success).await.unwrap().refund_required);
    assert_eq!((sale.stock(product_id).await, sale.clients().exceptions().await.len()), (0, 1));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_holds_go_first_and_orders_only_if_that_is_not_enough() {
    let sale = Sale::start("expired_holds_go_first").await;
    let product_id = sale.product(5).await;
    let order = sale.ordered(product_id, 2).await;
    sale.clients().hold(product_id, 3).await.unwrap();
    sale.expire_all_holds().await;
    sale.let_all_orders_be_overdue().await;

    sale.clients().hold(product_id, 3).await.unwrap();
    assert_eq!(sale.order_status(order.order_id).await, "pending", "a payment may still come");
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.order_status(order.order_id).await, "cancelled");
    assert_eq!(sale.stock(product_id).await, 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_products_own_pending_and_overdue_orders_are_taken_back() {
    let sale = Sale::start("only_overdue_orders_go_back").await;
    let (product_id, other_id) = (sale.product(4).await, sale.product(1).await);
    let overdue = sale.ordered(product_id, 1).await;
    let paid = sale.ordered(product_id, 1).await;
    sale.clients().pay("k", paid.order_id, PaymentStatus::Success).await.unwrap();
    let of_other = sale.ordered(other_id, 1).await;
    for order in [&overdue, &paid, &of_other] {
        let_be_overdue(&sale, order).await;
    }
    let in_time = sale.ordered(product_id, 1).await;
    let never = sale.ordered(product_id, 1).await;
    sale.database.move_times(&format!("UPDATE orders SET payment_due_at = NULL WHERE id = {}", never.order_id)).await;

    assert_short(&sale, product_id, 2, 1).await;
    for (order, status) in
        [(overdue, "cancelled"), (paid, "paid"), (of_other, "pending"), (in_time, "pending"), (never, "pending")]
    {
        assert_eq!(sale.order_status(order.order_id).await, status, "{order:?}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_orders_are_left_to_the_sweeper_while_there_is_enough() {
    let sale = Sale::start("enough_leaves_orders_alone").await;
    let product_id = sale.product(2).await;
    let order = sale.ordered(product_id, 1).await;
    sale.let_all_orders_be_overdue().await;
    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.order_status(order.order_id).await, "pending");
    let paid = sale.clients().pay("k", order.order_id, PaymentStatus::Success).await.unwrap();
    assert_eq!((paid.order_status(), paid.refund_required), (OrderStatus::Paid, false), "it still counts");
    sale.finish().await;
}

/// The refusal without a lock has to look for overdue orders, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_becomes_overdue_is_sold_by_the_very_next_call_also_when_sold_out() {
    let sale = Sale::start("overdue_when_sold_out").await;
    let product_id = sale.product(1).await;
    sale.ordered(product_id, 1).await;
    for _ in 0..4 {
        assert_short(&sale, product_id, 1, 0).await;
    }
    sale.let_all_orders_be_overdue().await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_order_that_somebody_has_locked_is_not_waited_for() {
    let sale = Sale::start("a_locked_order_is_not_waited_for").await;
    let product_id = sale.product(2).await;
    let (locked, free) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    sale.let_all_orders_be_overdue().await;
    let mut holder = sale.database.lock_rows(&format!("orders WHERE id = {}", locked.order_id)).await;

    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.order_status(free.order_id).await, "cancelled");
    assert_short(&sale, product_id, 1, 0).await;
    holder.execute("ROLLBACK").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

/// A repeat of CreateOrder, or a release, has locked the order's hold, and may wait for the product next.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_order_whose_hold_somebody_has_locked_is_left_out_and_not_waited_for() {
    let sale = Sale::start("a_locked_hold_of_an_order").await;
    let product_id = sale.product(2).await;
    let (busy, free) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    sale.let_all_orders_be_overdue().await;
    let mut holder = sale.database.lock_rows(&format!("holds WHERE id = {}", busy.hold_id)).await;

    sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.order_status(free.order_id).await, "cancelled");
    assert_short(&sale, product_id, 1, 0).await;
    assert_eq!(
        (sale.order_status(busy.order_id).await, sale.hold_status(busy.hold_id).await),
        ("pending".to_owned(), "used".to_owned())
    );
    // The holder would lock the product next if it released another hold of the product.
    holder.query_rows(&format!("SELECT id FROM products WHERE id = {product_id} FOR UPDATE")).await;
    holder.execute("ROLLBACK").await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyers_overdue_order_counts_until_it_is_taken_back() {
    let sale = Sale::start("a_buyers_overdue_order").await;
    let request = CreateProductRequest { max_per_buyer: Some(2), ..product(4) };
    let product_id = sale.clients().try_create_product(request).await.unwrap().product_id;
    let held = sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
    sale.clients().order(held.hold_id).await.unwrap();
    sale.let_all_orders_be_overdue().await;
    let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");

    sale.clients().hold_by(hold_of("bob", product_id, 2)).await.unwrap();
    sale.clients().hold_by(hold_of("cid", product_id, 1)).await.unwrap();
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    assert_eq!(sale.stock(product_id).await, 0);
    sale.finish().await;
}

/// Runs rounds in which an overdue order is paid, swept and wanted by others at two servers at the same moment.
///
/// Its unit is paid for or sold again, never both.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_order_at_the_same_moment_is_paid_or_sold_again_and_never_both() {
    let sale = Sale::start("paid_or_sold_again").await;
    let second = sale.second_server().await;
    let database = sale.sweeper_database();
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..30 {
        let product_id = sale.product(1).await;
        let order = sale.ordered(product_id, 1).await;
        assert_short(&sale, product_id, 1, 0).await;
        sale.let_all_orders_be_overdue().await;
        let granted = at_once(8, |number| {
            let clients = if number % 2 == 0 { sale.clients() } else { &second.clients }.clone();
            let (database, order) = (database.clone(), order.clone());
            async move {
                match number {
                    0 | 1 => {
                        let key = format!("{round}-{number}");
                        clients.pay(&key, order.order_id, PaymentStatus::Success).await.unwrap();
                        false
                    }
                    2 => {
                        cancel_overdue_orders(&database, UNIX_EPOCH, 10).await.unwrap();
                        false
                    }
                    3 => {
                        assert_refused(clients.order(order.hold_id).await, Code::FailedPrecondition, "HOLD_USED");
                        false
                    }
                    4 => {
                        // A cancelled hold is answered as it is.
                        let released = clients.release(order.hold_id).await;
                        assert!(released.as_ref().err().is_none_or(|status| reason(status) == "HOLD_USED"));
                        false
                    }
                    _ => match clients.hold(product_id, 1).await {
                        Ok(_) => true,
                        Err(status) => {
                            assert_eq!(reason(&status), "OUT_OF_STOCK");
                            false
                        }
                    },
                }
            }
        });
        let sold = granted.await.into_iter().filter(|granted| *granted).count();
        let status = sale.order_status(order.order_id).await;
        match status.as_str() {
            "paid" => assert_eq!(sold, 0, "round {round}"),
            "cancelled" => assert!(sold <= 1, "round {round}"),
            other => panic!("round {round}: {other}"),
        }
        *outcomes.entry((status, sold)).or_insert(0) += 1;
    }
    assert!(outcomes.len() > 1, "more than one thing can happen: {outcomes:?}");
    second.stop().await;
    sale.finish().await;
}

//! Shows that a hold that is wanted for several things at the same moment ends in one way.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::cancel_overdue_orders::cancel_overdue_orders,
    pb::{HoldStatus, Order, OrderStatus, PaymentStatus},
};
use tonic::Status;

use super::Crowd;
use crate::support::{
    at_once::at_once,
    client::{metadata, reason},
    sale::repeatable_order,
};

/// Orders one hold at the same moment, with these request_ids.
async fn order_at_once(crowd: &Crowd, hold_id: i64, request_ids: Vec<Option<&str>>) -> Vec<Result<Order, Status>> {
    at_once(request_ids.len(), |number| {
        let clients = crowd.caller(number);
        let request = request_ids[number].map(|request_id| repeatable_order(hold_id, request_id));
        async move {
            match request {
                Some(request) => clients.order_by(request).await,
                None => clients.order(hold_id).await,
            }
        }
    })
    .await
}

/// A hold makes at most one order, ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ordered_twice_at_once_makes_one_order() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("ordered_twice_at_once", servers).await;
        let product_id = crowd.sale.product(100).await;
        for round in 1..=10 {
            let hold = crowd.sale.clients().hold(product_id, 1).await.unwrap();
            let results = order_at_once(&crowd, hold.hold_id, vec![None, None, Some("r"), Some("s")]).await;
            let made: Vec<&Order> = results.iter().flatten().collect();
            assert_eq!(made.len(), 1, "{results:?}");
            for refused in results.iter().filter_map(|result| result.as_ref().err()) {
                assert_eq!(reason(refused), "HOLD_USED");
                assert_eq!(metadata(refused)["orderId"], made[0].order_id.to_string());
            }
            assert_eq!(crowd.sale.count("orders").await, round);
        }
        crowd.finish().await;
    }
}

/// A hold makes at most one order, and a repeated request_id returns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ordered_with_one_request_id_at_once_makes_one_order_that_all_get() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("ordered_with_one_request_id", servers).await;
        let product_id = crowd.sale.product(100).await;
        for round in 1..=10 {
            let hold = crowd.sale.clients().hold(product_id, 1).await.unwrap();
            let results = order_at_once(&crowd, hold.hold_id, vec![Some("r"); 8]).await;
            let first = results[0].as_ref().unwrap();
            assert!(results.iter().all(|result| result.as_ref().unwrap() == first), "{results:?}");
            assert_eq!(crowd.sale.count("orders").await, round);
        }
        crowd.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_released_and_ordered_at_once_ends_one_way() {
    for servers in [1, 2] {
        let crowd = Crowd::gather("released_and_ordered_at_once", servers).await;
        let product_id = crowd.sale.product(100).await;
        for round in 0..20 {
            let hold_id = crowd.sale.clients().hold(product_id, 1).await.unwrap().hold_id;
            let stock = crowd.sale.stock(product_id).await;
            let results = at_once(2, |number| {
                let clients = crowd.caller(number);
                async move {
                    if number == round % 2 {
                        let released = clients.release(hold_id).await;
                        released.map(|hold| assert_eq!(hold.status(), HoldStatus::Cancelled))
                    } else {
                        clients.order(hold_id).await.map(|order| assert_eq!(order.hold_id, hold_id))
                    }
                }
            });
            let results = results.await;
            let (released, ordered) = (&results[round % 2], &results[1 - round % 2]);
            match crowd.sale.hold_status(hold_id).await.as_str() {
                "used" => {
                    assert!(ordered.is_ok());
                    assert_eq!(reason(released.as_ref().unwrap_err()), "HOLD_USED");
                    assert_eq!(crowd.sale.stock(product_id).await, stock);
                }
                "cancelled" => {
                    assert!(released.is_ok());
                    assert_eq!(reason(ordered.as_ref().unwrap_err()), "HOLD_CANCELLED");
                    assert_eq!(crowd.sale.stock(product_id).await, stock + 1);
                }
                other => panic!("{other}"),
            }
        }
        crowd.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_released_20_times_at_once_gives_back_once() {
    let crowd = Crowd::gather("released_20_times_at_once", 2).await;
    let product_id = crowd.sale.product(100).await;
    for expired in [false, true] {
        let hold_id = crowd.sale.clients().hold(product_id, 5).await.unwrap().hold_id;
        if expired {
            crowd.sale.expire_all_holds().await;
        }
        let released = at_once(20, |number| {
            let clients = crowd.caller(number);
            async move { clients.release(hold_id).await.unwrap().status() }
        });
        let expected = if expired { HoldStatus::Expired } else { HoldStatus::Cancelled };
        assert_eq!(released.await, [expected; 20]);
        assert_eq!(crowd.sale.stock(product_id).await, 100);
    }
    crowd.finish().await;
}

/// A payment that arrives while the overdue order is swept counts, or it has to be refunded.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_order_paid_and_swept_at_once_ends_one_way() {
    const ORDERS: usize = 40;
    let crowd = Crowd::gather("paid_and_swept_at_once", 2).await;
    let product_id = crowd.sale.product(100).await;
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        orders.push(crowd.sale.ordered(product_id, 1).await.order_id);
    }
    crowd.sale.let_all_orders_be_overdue().await;
    let database = crowd.sale.sweeper_database();
    let sweeping = tokio::spawn(async move {
        let mut cancelled = 0;
        for _ in 0..ORDERS {
            cancelled += cancel_overdue_orders(&database, UNIX_EPOCH, 1).await.unwrap().rows;
        }
        cancelled
    });
    let paid = at_once(ORDERS, |number| {
        let (clients, order_id) = (crowd.caller(number), orders[number]);
        async move { clients.pay(&format!("key {order_id}"), order_id, PaymentStatus::Success).await.unwrap() }
    });
    let paid = paid.await;
    let cancelled = sweeping.await.unwrap();
    for answer in &paid {
        let status = crowd.sale.order_status(answer.order_id).await;
        let expected = if status == "paid" { (OrderStatus::Paid, false) } else { (OrderStatus::Cancelled, true) };
        assert_eq!((answer.order_status(), answer.refund_required), expected, "{status}");
    }
    let refunds = paid.iter().filter(|answer| answer.refund_required).count();
    assert_eq!(refunds, cancelled);
    crowd.finish().await;
}

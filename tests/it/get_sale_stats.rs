//! Tests GetSaleStats.

use flashsale::{
    checkout::{Settings, cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    pb::{GetSaleStatsResponse, PaymentStatus},
};
use std::time::{Duration, UNIX_EPOCH};
use tonic::{Code, Status};

use crate::support::{
    client::{Clients, assert_refused, reason},
    sale::{bad_fields, missing},
    server::{Sale, TestServer, default_settings},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_unit_hold_and_order_is_counted_where_it_is() {
    let sale = Sale::start("every_unit_is_counted").await;
    let product_id = sale.product(1000).await;
    let nothing = GetSaleStatsResponse { total_stock: 1000, available_stock: 1000, ..Default::default() };
    assert_eq!(sale.clients().stats(product_id).await.unwrap(), nothing);

    // These rows are another product's and don't count.
    let other_id = sale.product(50).await;
    sale.ordered(other_id, 2).await;
    sale.clients().hold(other_id, 1).await.unwrap();

    let expired = sale.clients().hold(product_id, 512).await.unwrap();
    sale.expire_all_holds().await;
    expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
    let overdue = sale.ordered(product_id, 256).await;
    sale.let_all_orders_be_overdue().await;
    cancel_overdue_orders(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
    for (key, qty, status) in
        [("p", 1, PaymentStatus::Success), ("q", 2, PaymentStatus::Success), ("f", 4, PaymentStatus::Failure)]
    {
        let order = sale.ordered(product_id, qty).await;
        sale.clients().pay(key, order.order_id, status).await.unwrap();
    }
    sale.ordered(product_id, 8).await;
    let released = sale.clients().hold(product_id, 16).await.unwrap();
    sale.clients().release(released.hold_id).await.unwrap();
    sale.clients().hold(product_id, 32).await.unwrap();
    sale.clients().hold(product_id, 64).await.unwrap();
    let expected = GetSaleStatsResponse {
        total_stock: 1000,
        available_stock: 1000 - 1 - 2 - 8 - 32 - 64,
        held_stock: 32 + 64,
        pending_stock: 8,
        paid_stock: 1 + 2,
        holds_active: 2,
        holds_used: 3,
        holds_expired: 1,
        holds_cancelled: 3,
        orders_pending: 1,
        orders_paid: 2,
        orders_cancelled: 2,
    };
    assert_eq!(sale.clients().stats(product_id).await.unwrap(), expected);
    assert_eq!((expired.qty, overdue.qty), (512, 256));

    sale.expire_all_holds().await;
    sale.let_all_orders_be_overdue().await;
    let expected = GetSaleStatsResponse {
        available_stock: 1000 - 1 - 2,
        held_stock: 0,
        pending_stock: 0,
        holds_active: 0,
        holds_expired: 3,
        ..expected
    };
    // The read has the expired holds taken back, which changes no number. An overdue order may still be paid.
    for _ in 0..2 {
        assert_eq!(sale.clients().stats(product_id).await.unwrap(), expected, "taken back or not");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_product_has_no_books() {
    let sale = Sale::start("an_unknown_product_has_no_books").await;
    let status = assert_refused(sale.clients().stats(7).await, Code::NotFound, "PRODUCT_NOT_FOUND");
    assert_eq!(missing(&status), ("flashsale.v1.Product".to_owned(), "7".to_owned()));
    let status = assert_refused(sale.clients().stats(0).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["product_id"]);
    sale.finish().await;
}

/// Holds, orders, pays, releases and restocks for `rounds` rounds. A refusal by the rules is fine.
async fn trade(clients: Clients, product_id: i64, worker: usize, rounds: usize) {
    let fine = |result: Result<(), Status>| {
        if let Err(status) = result {
            assert!(!["INTERNAL", "INVALID_ARGUMENT"].contains(&reason(&status).as_str()), "{status:?}");
        }
    };
    for round in 0..rounds {
        let Ok(hold) = clients.hold(product_id, 1 + i32::try_from(round % 3).unwrap()).await else { continue };
        let name = format!("{worker}-{round}");
        match (worker + round) % 5 {
            0 => fine(clients.release(hold.hold_id).await.map(|_| ())),
            1 => fine(clients.adjust(product_id, if round % 2 == 0 { 2 } else { -2 }, &name).await.map(|_| ())),
            step => {
                let Ok(order) = clients.order(hold.hold_id).await else { continue };
                let status = if step == 2 { PaymentStatus::Failure } else { PaymentStatus::Success };
                fine(clients.pay(&name, order.order_id, status).await.map(|_| ()));
            }
        }
    }
}

/// All numbers are of one moment, also while everything changes.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_the_books_always_balance() {
    let sale = Sale::start("in_a_storm_the_books_balance").await;
    let hasty =
        Settings { hold_ttl: Duration::from_millis(20), payment_due: Some(Duration::ZERO), ..default_settings() };
    let second = TestServer::start_with(&sale.database.url(), hasty).await;
    let product_id = sale.product(40).await;
    let workers: Vec<_> = (0..12)
        .map(|worker| {
            let clients = if worker % 3 == 0 { &second.clients } else { sale.clients() }.clone();
            tokio::spawn(trade(clients, product_id, worker, 60))
        })
        .collect();
    let (mut looks, mut different) = (0, std::collections::BTreeSet::new());
    while !workers.iter().all(tokio::task::JoinHandle::is_finished) || looks < 50 {
        let stats = sale.clients().stats(product_id).await.unwrap();
        let sum = stats.available_stock + stats.held_stock + stats.pending_stock + stats.paid_stock;
        assert_eq!(stats.total_stock, sum, "{stats:?}");
        assert_eq!(stats.orders_pending + stats.orders_paid, stats.holds_used, "{stats:?}");
        different.insert(format!("{stats:?}"));
        looks += 1;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(different.len() > 5, "too few different states were read: {different:?}");
    second.stop().await;
    sale.finish().await;
}

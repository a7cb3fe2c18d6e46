//! Loses, drops or delays the COMMIT of each call that operators make.

use flashsale::{
    checkout::repair_available_stock::{Repair, repair_available_stock},
    config::Account,
    domain::ProductId,
    pb::{AcceptPaymentRequest, OrderStatus, PaymentStatus, Product},
};

use super::{FAULTS, Fault, Ground};
use crate::support::sale::event;

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_adjusted_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_adjustment").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
    for (number, fault) in (1..).zip(FAULTS) {
        let request_id = format!("r{number}");
        let adjusted = ground.under(fault, ground.clients().adjust(product_id, 5, &request_id)).await.unwrap();
        let stock = 10 + 5 * number;
        assert_eq!((adjusted.total_stock, adjusted.available_stock), (stock, stock), "{fault:?}");
        assert_eq!(ground.count("stock_adjustments").await, number, "{fault:?}");
        assert_eq!(ground.clients().adjust(product_id, 5, &request_id).await.unwrap(), adjusted, "{fault:?}");
        assert_eq!(ground.clients().available_stock(product_id).await, stock, "{fault:?}");
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_changed_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_change").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
    for (fault, price_cents) in FAULTS.into_iter().zip([2000, 3000, 4000]) {
        let change = Product { product_id, price_cents, name: format!("{fault:?}"), ..Default::default() };
        let changed = ground.under(fault, ground.clients().update(change, &["name", "price_cents"])).await.unwrap();
        assert_eq!((changed.price_cents, changed.available_stock), (price_cents, 10), "{fault:?}");
        let stored = ground.database.query_rows("SELECT name, price_cents FROM products").await;
        assert_eq!(stored, [[format!("{fault:?}"), price_cents.to_string()]]);
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_resolved_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_resolution").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
    let hold_id = ground.clients().hold(product_id, 1).await.unwrap().hold_id;
    let order_id = ground.clients().order(hold_id).await.unwrap().order_id;
    ground.clients().pay("paid", order_id, PaymentStatus::Success).await.unwrap();
    for fault in FAULTS {
        ground.clients().pay(&format!("{fault:?}"), order_id, PaymentStatus::Success).await.unwrap();
        let exception_id = ground.clients().exceptions().await[0].exception_id;
        let resolved = ground.under(fault, ground.clients().resolve(exception_id, "paid back")).await.unwrap();
        assert_eq!(resolved.note.as_deref(), Some("paid back"), "{fault:?}");
        // A resolution with another note doesn't change the first one.
        assert_eq!(ground.clients().resolve(exception_id, "lost").await.unwrap(), resolved, "{fault:?}");
    }
    assert_eq!(ground.clients().exceptions().await, []);
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_accepted_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_accept").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 100).await.product_id;
    for (count, fault) in (1..).zip(FAULTS) {
        let hold = ground.clients().hold(product_id, 1).await.unwrap();
        let order_id = ground.clients().order(hold.hold_id).await.unwrap().order_id;
        let key = format!("off {count}");
        ground.clients().pay_by(event(&key, order_id, PaymentStatus::Success, Some(1))).await.unwrap();
        let exception_id = ground.clients().exceptions().await[0].exception_id;
        let request = AcceptPaymentRequest { exception_id, note: "part".to_owned() };
        let mut admin = ground.clients().admin.clone();
        let accepted = ground.under(fault, admin.accept_payment(request)).await.unwrap().into_inner();
        assert_eq!(accepted.order.unwrap().status(), OrderStatus::Paid, "{fault:?}");
        assert_eq!(ground.count("operator_actions WHERE method LIKE '%/AcceptPayment'").await, count, "{fault:?}");
    }
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_repaired_once_whatever_happens_to_its_commit() {
    let ground = Ground::start("commit_repair").await;
    let product_id = ground.clients().create_product("Shoe", 1000, 10).await.product_id;
    let database = ground.database_of(Account::Repairer);
    for fault in FAULTS {
        ground.database.execute("UPDATE products SET available_stock = 7").await;
        let repair = ground.under(fault, repair_available_stock(&database, ProductId::stored(product_id))).await;
        match fault {
            // The repair is found done, and another process may have done it.
            Fault::AnswerLost => assert_eq!(repair, Ok(Repair::Unneeded)),
            Fault::RequestLost | Fault::Late => assert!(matches!(repair, Ok(Repair::Repaired(_, 10))), "{repair:?}"),
        }
        assert_eq!(ground.clients().available_stock(product_id).await, 10, "{fault:?}");
    }
    ground.finish().await;
}

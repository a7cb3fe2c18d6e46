//! The limit: how many units one buyer may have.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::{cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    db::{
        Connection, Failure, Plan, Script, holds,
        orders::{self, NewOrder},
    },
    domain::{HoldId, HoldStatus, RequestId},
    pb::{CreateProductRequest, Hold, PaymentStatus},
};
use tokio::sync::Notify;
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    sale::{bad_fields, hold_of, product},
    server::Sale,
};

async fn limited_product(sale: &Sale, max_per_buyer: i32) -> i64 {
    let request = CreateProductRequest { max_per_buyer: Some(max_per_buyer), ..product(100) };
    sale.clients().try_create_product(request).await.unwrap().product_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_may_have_as_much_as_the_limit_and_no_more() {
    let sale = Sale::start("a_buyer_may_have_the_limit").await;
    let product_id = limited_product(&sale, 3).await;
    let refused = sale.clients().hold_by(hold_of("ann", product_id, 4)).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!((metadata(&status)["limit"].as_str(), metadata(&status)["alreadyTaken"].as_str()), ("3", "0"));

    for _ in 0..3 {
        sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    }
    let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!((metadata(&status)["limit"].as_str(), metadata(&status)["alreadyTaken"].as_str()), ("3", "3"));
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (97, 3));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_each_buyers_own_and_each_products_own() {
    let sale = Sale::start("the_limit_is_each_buyers").await;
    let (one, other) = (limited_product(&sale, 2).await, limited_product(&sale, 2).await);
    for (buyer_id, product_id) in [("ann", one), ("ann", other), ("bob", one), ("Ann", one)] {
        sale.clients().hold_by(hold_of(buyer_id, product_id, 2)).await.unwrap();
        let refused = sale.clients().hold_by(hold_of(buyer_id, product_id, 1)).await;
        assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_with_a_limit_asks_for_the_buyer() {
    let sale = Sale::start("a_limit_asks_for_the_buyer").await;
    let product_id = limited_product(&sale, 2).await;
    let status = assert_refused(sale.clients().hold(product_id, 1).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(bad_fields(&status), ["buyer_id"]);
    assert_eq!((sale.stock(product_id).await, sale.count("holds").await), (100, 0));
    sale.finish().await;
}

/// Does what `fate` says to Ann's hold of two units.
async fn befall(sale: &Sale, hold: &Hold, fate: &str) {
    let pay = async |status| {
        let order = sale.clients().order(hold.hold_id).await.unwrap();
        sale.clients().pay(&format!("{}", hold.hold_id), order.order_id, status).await.unwrap();
    };
    match fate {
        "nothing" => {}
        "release" => _ = sale.clients().release(hold.hold_id).await.unwrap(),
        "its end" => sale.expire_all_holds().await,
        "its end and a sweep" => {
            sale.expire_all_holds().await;
            expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
        }
        "order" => _ = sale.clients().order(hold.hold_id).await.unwrap(),
        "order and its end" => {
            sale.clients().order(hold.hold_id).await.unwrap();
            let sql = "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND";
            sale.database.move_times(sql).await;
        }
        "payment" => pay(PaymentStatus::Success).await,
        "failed payment" => pay(PaymentStatus::Failure).await,
        "overdue payment" => {
            sale.clients().order(hold.hold_id).await.unwrap();
            sale.let_all_orders_be_overdue().await;
            cancel_overdue_orders(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Rule 8: a buyer's holds past their time no longer count, swept or not.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_buyer_no_longer_has_does_not_count() {
    let sale = Sale::start("what_frees_the_limit").await;
    for fate in ["release", "its end", "its end and a sweep", "failed payment", "overdue payment"] {
        let product_id = limited_product(&sale, 2).await;
        let hold = sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
        befall(&sale, &hold, fate).await;
        let again = sale.clients().hold_by(hold_of("ann", product_id, 2)).await;
        again.unwrap_or_else(|status| panic!("after {fate}: {status:?}"));
        let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
        assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_buyer_holds_ordered_or_paid_for_counts() {
    let sale = Sale::start("what_counts_for_the_limit").await;
    for fate in ["nothing", "order", "order and its end", "payment"] {
        let product_id = limited_product(&sale, 2).await;
        let hold = sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
        befall(&sale, &hold, fate).await;
        let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
        let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
        assert_eq!(metadata(&status)["alreadyTaken"], "2", "after {fate}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_set_later_counts_what_was_taken_before() {
    let sale = Sale::start("a_limit_set_later").await;
    let product_id = sale.product(100).await;
    sale.clients().hold_by(hold_of("ann", product_id, 5)).await.unwrap();
    sale.database.execute("UPDATE products SET max_per_buyer = 2").await;
    let refused = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!(metadata(&status)["alreadyTaken"], "5");
    sale.finish().await;
}

/// Orders a hold as a CreateOrder does that was decided in time, and that commits only after `meanwhile`.
async fn while_it_is_ordered<T>(sale: &Sale, hold: &Hold, meanwhile: impl Future<Output = T>) -> T {
    let hold_id = HoldId::stored(hold.hold_id);
    let (locked, over) = (Notify::new(), Notify::new());
    let database = sale.server_database();
    let order = database.transaction("create_order", async |conn: &mut Connection, _attempt| {
        let stored = holds::lock_free(conn, [hold_id]).await?.remove(&hold_id).unwrap();
        locked.notify_one();
        over.notified().await;
        let new = NewOrder {
            hold: stored.hold,
            request_id: RequestId::stored(b"in time".to_vec()),
            payment_due_at: None,
            created_at: stored.now,
        };
        let mut script = Script::default();
        orders::insert(&mut script, &[new]);
        holds::set_status(&mut script, &[hold_id], HoldStatus::Active, HoldStatus::Used);
        Ok::<_, Failure>(Plan { script, value: () })
    });
    let meanwhile = async {
        locked.notified().await;
        let result = meanwhile.await;
        over.notify_one();
        result
    };
    let (ordered, result) = tokio::join!(order, meanwhile);
    ordered.unwrap();
    result
}

/// Rule 3 lets a hold become an order up to its end, and the order's commit comes a little later.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_past_its_time_that_is_being_ordered_counts() {
    let sale = Sale::start("a_past_hold_being_ordered").await;
    let product_id = limited_product(&sale, 3).await;
    let ordered = sale.clients().hold_by(hold_of("ann", product_id, 2)).await.unwrap();
    let over = sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    sale.expire_all_holds().await;
    let (refused, granted, of_another) = while_it_is_ordered(&sale, &ordered, async {
        let clients = sale.clients();
        (
            clients.hold_by(hold_of("ann", product_id, 2)).await,
            clients.hold_by(hold_of("ann", product_id, 1)).await,
            clients.hold_by(hold_of("bob", product_id, 3)).await,
        )
    })
    .await;
    let status = assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!(
        metadata(&status)["alreadyTaken"],
        "2",
        "the hold that is being ordered counts, and the expired one doesn't"
    );
    granted.unwrap();
    of_another.unwrap();
    assert_eq!(sale.hold_status(ordered.hold_id).await, "used");
    assert_eq!(sale.hold_status(over.hold_id).await, "expired", "taken back by the hold that it stood in the way of");
    sale.finish().await;
}

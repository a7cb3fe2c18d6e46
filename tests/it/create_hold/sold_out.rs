//! The unlocked way: after a batch that was granted nothing, the next one is decided by reads without a lock, if it is
//! granted nothing either. It must never answer what isn't so any more.

use flashsale::pb::{CreateHoldRequest, PaymentStatus};
use tonic::Code;

use crate::support::{
    client::{assert_refused, metadata},
    counted::CountedCheckout,
    sale::{bad_fields, hold, hold_of, repeatable_hold},
    server::Sale,
};

/// Holds units until nothing is left, and asks three times more, so that the next call takes the unlocked way.
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

/// Rule 8: a replay gets the first answer again, also when the product is sold out.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_answered_also_when_sold_out() {
    let sale = Sale::start("a_replay_when_sold_out").await;
    let product_id = sale.product(1).await;
    let first = sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await.unwrap();
    sell_out(&sale, product_id).await;
    // A replay doesn't wait for whoever has the product locked.
    let holder = sale.database.lock_rows("products").await;
    assert_eq!(sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await.unwrap(), first);
    holder.close().await;
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

    let repeatable = sale.clients().hold_by(repeatable_hold(product_id, 1, "r")).await;
    assert_refused(repeatable, Code::FailedPrecondition, "OUT_OF_STOCK");
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

/// One statement sees one moment. Units that a sweep moves from an expired hold to the product are in one of the two
/// then. Two statements could find them in neither. Only a caller's request_id needs a second read, after the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_lock_is_decided_by_one_statement() {
    let sale = Sale::start("refused_by_one_statement").await;
    let product_id = sale.product(1).await;
    let counted = CountedCheckout::open(&sale.database).await;
    let by_ann = || hold_of("ann", product_id, 1);
    let repeatable_by_ann = || CreateHoldRequest { request_id: Some("r".to_owned()), ..by_ann() };
    let refused = async |request| {
        let (refused, sent) = counted.hold(request).await;
        refused.unwrap_err();
        assert_eq!((sent.connections, sent.queries, sent.commits), (0, 0, 0));
        sent.executes
    };
    counted.hold(hold(product_id, 1)).await.0.unwrap();
    for _ in 0..2 {
        counted.hold(hold(product_id, 1)).await.0.unwrap_err();
    }
    assert_eq!(refused(hold(product_id, 1)).await, 1);
    assert_eq!(refused(by_ann()).await, 1);
    assert_eq!(refused(repeatable_by_ann()).await, 2);
    sale.database.execute("UPDATE products SET max_per_buyer = 1").await;
    for _ in 0..2 {
        counted.hold(by_ann()).await.0.unwrap_err();
    }
    assert_eq!(refused(by_ann()).await, 1);
    assert_eq!(refused(repeatable_by_ann()).await, 2);
    assert_eq!(refused(hold(product_id, 1)).await, 1);
    counted.close().await;
    sale.finish().await;
}

/// A lock on the product holds up no refusal, whatever its reason is.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_for_no_lock() {
    let sale = Sale::start("a_refusal_waits_for_no_lock").await;
    let product_id = sale.product(1).await;
    sale.database.execute("UPDATE products SET max_per_buyer = 1").await;
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    let request = |buyer| CreateHoldRequest { request_id: Some("r".to_owned()), ..hold_of(buyer, product_id, 1) };
    for (change, buyer, reason) in [
        ("total_stock = total_stock", "bob", "OUT_OF_STOCK"),
        ("total_stock = 9, available_stock = 8", "ann", "BUYER_LIMIT"),
        ("paused = TRUE", "bob", "SALE_PAUSED"),
        ("paused = FALSE, starts_at = '2100-01-01'", "bob", "SALE_NOT_STARTED"),
        ("starts_at = NULL, ends_at = '2000-01-01'", "bob", "SALE_ENDED"),
    ] {
        sale.database.execute(&format!("UPDATE products SET {change}")).await;
        assert_refused(sale.clients().hold_by(request(buyer)).await, Code::FailedPrecondition, reason);
        let mut locker = sale.database.lock_rows("products").await;
        assert_refused(sale.clients().hold_by(request(buyer)).await, Code::FailedPrecondition, reason);
        locker.execute("ROLLBACK").await;
        locker.close().await;
    }
    sale.finish().await;
}

/// What the buyers have is read only where the product had a limit when it was last locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_from_its_moment_on_also_when_sold_out() {
    let sale = Sale::start("a_limit_when_sold_out").await;
    let product_id = sale.product(1).await;
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    sell_out(&sale, product_id).await;
    sale.database.execute("UPDATE products SET max_per_buyer = 1").await;
    let greedy = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
    let status = assert_refused(greedy, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!(metadata(&status)["alreadyTaken"], "1");
    sale.finish().await;
}

/// A hold past its time counts unless it can be locked, and the unlocked way locks nothing. So it can't refuse here.
#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_whose_hold_is_past_its_time_is_no_longer_refused() {
    let sale = Sale::start("a_past_hold_refuses_nobody").await;
    let product_id = sale.product(9).await;
    sale.database.execute("UPDATE products SET max_per_buyer = 1").await;
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    for _ in 0..2 {
        let again = sale.clients().hold_by(hold_of("ann", product_id, 1)).await;
        assert_refused(again, Code::FailedPrecondition, "BUYER_LIMIT");
    }
    sale.expire_all_holds().await;
    sale.clients().hold_by(hold_of("ann", product_id, 1)).await.unwrap();
    sale.finish().await;
}

/// A call takes the last unit, and another server gets its repeat meanwhile. The stock is read first, so a read that
/// finds none left is followed by one that finds the hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_not_refused_for_want_of_what_its_own_request_took() {
    let sale = Sale::start("a_repeat_and_the_last_unit").await;
    let product_id = sale.product(1).await;
    for _ in 0..2 {
        assert_refused(sale.clients().hold(product_id, 2).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    }
    let mut blocking = sale.database.connect().await;
    blocking.execute("LOCK TABLES products WRITE").await;
    let clients = sale.clients().clone();
    let repeat = tokio::spawn(async move { clients.hold_by(repeatable_hold(product_id, 1, "r")).await });
    sale.database.wait_for_table_waiter().await;
    blocking.execute("UPDATE products SET available_stock = 0").await;
    let insert = format!(
        "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id)
         VALUES ({product_id}, 1, 1000, UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, UTC_TIMESTAMP(6), 'r')"
    );
    sale.database.execute(&insert).await;
    blocking.execute("UNLOCK TABLES").await;
    blocking.close().await;
    assert_eq!(repeat.await.unwrap().unwrap().hold_id, 1);
    sale.finish().await;
}

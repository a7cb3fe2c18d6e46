//! Shows what commands that share a batch do to each other: nothing.
//!
//! One command's refusal is no other command's, and each is decided on what the commands before it have left.
//!
//! On a runtime of one thread a lane begins only when the test waits. Calls that are joined therefore form one batch,
//! in their order.

use flashsale::{
    checkout::{Checkout, CreateHold, CreateOrder, HandlePaymentWebhook, WebhookAnswer, request_id_or_made_up},
    domain::{
        BuyerId, Hold, HoldId, HoldStatus, IdempotencyKey, OrderId, OrderStatus, PaymentEvent, PaymentResult,
        PaymentStatus, ProductId, Quantity, Refusal, RequestId,
    },
    error::{Error, Missing},
};
use futures_util::future::join_all;

use crate::support::{
    database::TestDatabase,
    mysqld::Mysqld,
    server::{database_config, default_settings},
};

struct Shop {
    database: TestDatabase,
    checkout: Checkout,
}

impl Shop {
    /// Opens a checkout with product 1, which has `stock` units.
    async fn open(name: &str, stock: i64) -> Self {
        Self::over(TestDatabase::create(name).await, stock).await
    }

    async fn over(database: TestDatabase, stock: i64) -> Self {
        let sql = format!(
            "INSERT INTO products (name, price_cents, total_stock, available_stock, request_id, request_digest, created_at)
             VALUES ('Shoe', 1000, {stock}, {stock}, 'p', REPEAT('0', 32), UTC_TIMESTAMP(6))"
        );
        database.execute(&sql).await;
        let checkout = Checkout::open(&database_config(&database.url(), 4), default_settings()).unwrap();
        Self { checkout, database }
    }

    async fn hold_all(&self, commands: Vec<CreateHold>) -> Vec<Result<Hold, Error>> {
        join_all(commands.into_iter().map(|command| self.checkout.create_hold(command))).await
    }

    /// Handles payment events in one batch.
    async fn pay_all(&self, events: &[(&str, i64, PaymentStatus)]) -> Vec<Result<WebhookAnswer, Error>> {
        let commands = events.iter().map(|&(key, order_id, status)| HandlePaymentWebhook {
            idempotency_key: IdempotencyKey::parse(key).unwrap(),
            order_id: OrderId::stored(order_id),
            event: PaymentEvent { status, amount_cents: None, payment_id: None },
        });
        join_all(commands.map(|command| self.checkout.handle_payment_webhook(command))).await
    }

    /// Makes orders 1 to `count` from holds 1 to `count`, one unit each.
    async fn order_many(&self, count: i64) {
        let holds = self.hold_all((0..count).map(|_| hold(1)).collect()).await;
        for (number, made) in (1..=count).zip(holds) {
            assert_eq!(made.unwrap().id.get(), number);
            assert_eq!(self.checkout.create_order(order(number, None)).await.unwrap().id.get(), number);
        }
    }

    async fn stock(&self) -> i64 {
        self.database.query_i64("SELECT available_stock FROM products").await
    }

    async fn count(&self, from: &str) -> i64 {
        self.database.query_i64(&format!("SELECT COUNT(*) FROM {from}")).await
    }

    async fn close(self) {
        self.checkout.close().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
    }
}

fn hold(qty: i32) -> CreateHold {
    CreateHold {
        product_id: ProductId::stored(1),
        qty: Quantity::parse(qty).unwrap(),
        request_id: request_id_or_made_up(None),
        buyer_id: None,
        expected_unit_price_cents: None,
    }
}

fn repeatable(qty: i32, request_id: &str) -> CreateHold {
    CreateHold { request_id: RequestId::parse(request_id).unwrap(), ..hold(qty) }
}

fn hold_of(buyer_id: &str, qty: i32) -> CreateHold {
    CreateHold { buyer_id: Some(BuyerId::parse(buyer_id).unwrap()), ..hold(qty) }
}

fn order(hold_id: i64, request_id: Option<&str>) -> CreateOrder {
    let request_id = request_id_or_made_up(request_id.map(|id| RequestId::parse(id).unwrap()));
    CreateOrder { hold_id: HoldId::stored(hold_id), request_id, buyer_id: None }
}

fn out_of_stock(requested: i64, available_stock: i64) -> Error {
    Refusal::OutOfStock { product_id: ProductId::stored(1), requested, available_stock }.into()
}

fn ids(results: &[Result<Hold, Error>]) -> Vec<Option<i64>> {
    results.iter().map(|result| result.as_ref().ok().map(|hold| hold.id.get())).collect()
}

#[tokio::test]
async fn holds_are_granted_in_their_order_and_a_refusal_fails_no_other() {
    let shop = Shop::open("granted_in_their_order", 5).await;
    let made = shop.hold_all([3, 3, 1, 2, 1, 1].map(hold).to_vec()).await;
    assert_eq!(ids(&made), [Some(1), None, Some(2), None, Some(3), None]);
    assert_eq!(made[1], Err(out_of_stock(3, 2)));
    assert_eq!(made[5], Err(out_of_stock(1, 0)));
    for (result, qty) in made.iter().zip([3, 3, 1, 2, 1, 1]) {
        let Ok(hold) = result else { continue };
        let stored = format!("SELECT qty FROM holds WHERE id = {}", hold.id);
        assert_eq!((hold.qty.get(), shop.database.query_i64(&stored).await), (qty, qty.into()));
    }
    assert_eq!((shop.stock().await, shop.count("holds").await), (0, 3));
    shop.close().await;
}

/// Where several servers of a cluster take writes, each gives ids in steps, so that no two give the same.
#[tokio::test]
async fn each_of_a_batch_gets_its_own_id_also_where_ids_come_in_steps() {
    let mysqld = Mysqld::start_private(&["--auto-increment-increment=3"]).await;
    let shop = Shop::over(TestDatabase::create_on(&mysqld, "ids_in_steps").await, 50).await;
    let made = shop.hold_all((1..=9).map(hold).collect()).await;
    assert_eq!(ids(&made), [1, 4, 7, 10, 13, 16, 19, 22, 25].map(Some));
    for hold in made.iter().flatten() {
        let stored = format!("SELECT qty FROM holds WHERE id = {}", hold.id);
        assert_eq!(shop.database.query_i64(&stored).await, i64::from(hold.qty.get()));
    }
    let ordered = [25, 1, 13].map(|hold_id| shop.checkout.create_order(order(hold_id, None)));
    for (number, order) in (0..).zip(join_all(ordered).await) {
        let order = order.unwrap();
        assert_eq!(order.id.get(), 1 + 3 * number);
        let stored = format!("SELECT hold_id FROM orders WHERE id = {}", order.id);
        assert_eq!(shop.database.query_i64(&stored).await, order.hold_id.get());
    }
    shop.close().await;
}

/// A repeated request_id returns the first result, also when both requests arrive at the same moment.
#[tokio::test]
async fn one_request_id_in_one_batch_makes_one_hold() {
    let shop = Shop::open("one_request_id_in_one_batch", 5).await;
    let made = shop
        .hold_all(vec![repeatable(2, "r"), repeatable(2, "r"), repeatable(1, "r"), repeatable(2, "r"), hold(1)])
        .await;
    assert_eq!(ids(&made), [Some(1), Some(1), None, Some(1), Some(2)]);
    assert_eq!(made[2], Err(Refusal::RequestIdReused.into()));
    assert_eq!((&made[1], &made[3]), (&made[0], &made[0]));
    assert_eq!((shop.stock().await, shop.count("holds").await), (2, 2));

    let made =
        shop.hold_all(vec![repeatable(9, "s"), repeatable(2, "s"), repeatable(2, "s"), repeatable(2, "r")]).await;
    assert_eq!(ids(&made), [None, Some(3), Some(3), Some(1)], "a refused request takes no request_id");
    shop.close().await;
}

#[tokio::test]
async fn a_buyers_limit_counts_what_the_batch_gave_before() {
    let shop = Shop::open("a_limit_in_one_batch", 50).await;
    shop.database.execute("UPDATE products SET max_per_buyer = 2").await;
    let mut commands =
        vec![hold_of("ann", 1), hold_of("bob", 2), hold_of("ann", 2), hold_of("ann", 1), hold_of("ann", 1)];
    commands.push(hold(1));
    let made = shop.hold_all(commands).await;
    assert_eq!(ids(&made), [Some(1), Some(2), None, Some(3), None, None]);
    assert_eq!(made[2], Err(Refusal::BuyerLimit { limit: 2, already_taken: 1 }.into()));
    assert_eq!(made[4], Err(Refusal::BuyerLimit { limit: 2, already_taken: 2 }.into()));
    assert!(matches!(&made[5], Err(Error::Invalid(fields)) if fields[0].field == "buyer_id"));
    assert_eq!(shop.stock().await, 46);
    shop.close().await;
}

/// The units that come back are granted to the batch, and no more than these.
#[tokio::test]
async fn a_batch_that_runs_short_takes_back_and_grants_again() {
    let shop = Shop::open("a_batch_takes_back", 5).await;
    shop.hold_all(vec![hold(2), hold(2)]).await;
    shop.database.move_times("UPDATE holds SET expires_at = '2000-01-01' WHERE id = 1").await;
    let made = shop.hold_all([2, 2, 1, 1].map(hold).to_vec()).await;
    assert_eq!(ids(&made), [Some(3), None, Some(4), None]);
    assert_eq!(made[1], Err(out_of_stock(2, 1)));
    assert_eq!((shop.stock().await, shop.count("holds WHERE status = 'expired'").await), (0, 1));
    shop.close().await;
}

/// A batch may need several transactions to take back what it grants.
#[tokio::test]
async fn a_batch_goes_on_taking_back_for_those_that_are_short() {
    let shop = Shop::open("a_batch_takes_back_again", 10_500).await;
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 105)";
    let expired = format!(
        "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id)
         {numbers} SELECT 1, 1, 1000, UTC_TIMESTAMP(6) - INTERVAL 1 SECOND, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR,
         CONCAT(one.n, '-', other.n) FROM numbers AS one, numbers AS other WHERE other.n <= 100"
    );
    shop.database.execute(&expired).await;
    shop.database.execute("UPDATE products SET available_stock = 0").await;
    let made = shop.hold_all([10_300, 100, 201, 100].map(hold).to_vec()).await;
    let units: Vec<Option<i32>> = made.iter().map(|result| result.as_ref().ok().map(|hold| hold.qty.get())).collect();
    assert_eq!(units, [Some(10_300), Some(100), None, Some(100)]);
    assert_eq!(made[2], Err(out_of_stock(201, 100)));
    for hold in made.iter().flatten() {
        let stored = format!("SELECT qty FROM holds WHERE id = {}", hold.id);
        assert_eq!(shop.database.query_i64(&stored).await, i64::from(hold.qty.get()));
    }
    assert_eq!((shop.stock().await, shop.count("holds WHERE status = 'active'").await), (0, 3));
    shop.close().await;
}

#[tokio::test]
async fn a_batch_for_an_unknown_product_fails_each_of_its_commands() {
    let shop = Shop::open("a_batch_for_an_unknown_product", 5).await;
    let unknown = ProductId::stored(2);
    let commands = (0..3).map(|_| CreateHold { product_id: unknown, ..hold(1) }).collect();
    let not_found = || Err(Missing::Product(unknown).into());
    assert_eq!(shop.hold_all(commands).await, [not_found(), not_found(), not_found()]);
    shop.close().await;
}

/// A hold makes at most one order, ever.
#[tokio::test]
async fn several_orders_of_one_hold_in_one_batch_make_one() {
    let shop = Shop::open("several_orders_in_one_batch", 10).await;
    shop.hold_all((0..9).map(|_| hold(1)).collect()).await;
    // Hold 13 doesn't exist.
    let commands = [
        order(9, None),
        order(1, Some("r")),
        order(1, None),
        order(13, None),
        order(1, Some("r")),
        order(5, None),
        order(1, Some("s")),
        order(5, None),
    ];
    let made = join_all(commands.into_iter().map(|command| shop.checkout.create_order(command))).await;
    let used = |hold_id, order_id| {
        Err(Refusal::HoldUsed { hold_id: HoldId::stored(hold_id), order_id: OrderId::stored(order_id) }.into())
    };
    let made: Vec<Result<(i64, i64), Error>> =
        made.into_iter().map(|result| result.map(|order| (order.id.get(), order.hold_id.get()))).collect();
    let missing = Err(Missing::Hold(HoldId::stored(13)).into());
    let expected = [Ok((1, 9)), Ok((2, 1)), used(1, 2), missing, Ok((2, 1)), Ok((3, 5)), used(1, 2), used(5, 3)];
    assert_eq!(made, expected);
    assert_eq!((shop.count("orders").await, shop.count("holds WHERE status = 'used'").await), (3, 3));
    shop.close().await;
}

#[tokio::test]
async fn several_releases_of_one_hold_in_one_batch_give_back_once() {
    let shop = Shop::open("several_releases_in_one_batch", 10).await;
    shop.hold_all((0..9).map(|_| hold(1)).collect()).await;
    shop.checkout.create_order(order(5, None)).await.unwrap();
    shop.database.move_times("UPDATE holds SET expires_at = '2000-01-01' WHERE id = 9").await;
    let released = [1, 1, 9, 5, 13, 9, 1].map(|id| shop.checkout.release_hold(HoldId::stored(id)));
    let released: Vec<Result<HoldStatus, Error>> =
        join_all(released).await.into_iter().map(|result| result.map(|hold| hold.status)).collect();
    let (cancelled, expired) = (Ok(HoldStatus::Cancelled), Ok(HoldStatus::Expired));
    let used = Err(Refusal::HoldUsed { hold_id: HoldId::stored(5), order_id: OrderId::stored(1) }.into());
    let missing = Err(Missing::Hold(HoldId::stored(13)).into());
    assert_eq!(released, [cancelled.clone(), cancelled.clone(), expired.clone(), used, missing, expired, cancelled]);
    assert_eq!(shop.stock().await, 3);
    shop.close().await;
}

/// The same key gets the same result, also for deliveries that arrive at the same moment.
#[tokio::test]
async fn deliveries_of_one_key_in_one_batch_get_one_answer() {
    let shop = Shop::open("one_key_in_one_batch", 10).await;
    shop.order_many(1).await;
    let answers = shop.pay_all(&[("k", 1, PaymentStatus::Success); 20]).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let WebhookAnswer { settlement, first_time, differs } = answer.unwrap();
        assert_eq!((settlement.order_status, settlement.result), (OrderStatus::Paid, PaymentResult::Applied));
        assert_eq!((first_time, differs), (number == 0, false));
    }
    assert_eq!((shop.count("payment_webhooks").await, shop.stock().await), (1, 9));
    let id = shop.database.query_i64("SELECT id FROM payment_webhooks").await;
    assert_eq!(id, 1, "the first run stored all, and the unique key refused nothing");
    shop.close().await;
}

#[tokio::test]
async fn events_of_one_batch_are_settled_one_after_the_other() {
    let shop = Shop::open("events_of_one_batch", 10).await;
    shop.order_many(9).await;
    use PaymentStatus::{Failure, Success};
    let answers = shop
        .pay_all(&[
            ("a", 1, Success),
            ("b", 1, Failure),
            ("c", 1, Success),
            ("a", 5, Success),
            ("d", 5, Failure),
            ("e", 5, Success),
            ("d", 5, Success),
            ("f", 13, Success),
            ("f", 9, Failure),
            ("A", 9, Failure),
        ])
        .await;
    let answers: Vec<Result<(OrderStatus, PaymentResult, bool), Error>> = answers
        .into_iter()
        .map(|result| {
            result.map(|answer| (answer.settlement.order_status, answer.settlement.result, answer.first_time))
        })
        .collect();
    let expected = [
        Ok((OrderStatus::Paid, PaymentResult::Applied, true)),
        Ok((OrderStatus::Paid, PaymentResult::Unchanged, true)),
        Ok((OrderStatus::Paid, PaymentResult::DuplicateSuccess, true)),
        Err(Refusal::IdempotencyKeyReused.into()),
        Ok((OrderStatus::Cancelled, PaymentResult::Applied, true)),
        Ok((OrderStatus::Cancelled, PaymentResult::LateSuccess, true)),
        Ok((OrderStatus::Cancelled, PaymentResult::Applied, false)),
        Err(Missing::Order(OrderId::stored(13)).into()),
        Ok((OrderStatus::Cancelled, PaymentResult::Applied, true)),
        Ok((OrderStatus::Cancelled, PaymentResult::Unchanged, true)),
    ];
    assert_eq!(answers, expected);
    assert_eq!((shop.count("payment_webhooks").await, shop.stock().await), (7, 3));
    shop.close().await;
}

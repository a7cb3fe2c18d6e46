//! Covers the sweep: expired holds and overdue orders give their units back, once.

mod at_work;
mod left_out;
mod turn;

use std::{
    future,
    time::{Duration, Instant, UNIX_EPOCH},
};

use flashsale::{
    checkout::{
        cancel_overdue_orders::cancel_overdue_orders,
        expire_holds::{expire_holds, expire_holds_of},
        swept::Swept,
    },
    db::{
        Database,
        due::{SweepPosition, SweepScope},
    },
    domain::ProductId,
    pb::{OrderStatus, PaymentStatus},
    sweeper::{self, Sweep},
};
use tonic::Code;

use crate::support::{
    at_once::at_once,
    client::{Clients, assert_refused, reason},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Holds one unit `count` times, of each product in turn.
async fn hold_many(sale: &Sale, products: &[i64], count: usize) {
    let clients = sale.clients().clone();
    let held = at_once(count, |number| {
        let (clients, product_id) = (clients.clone(), products[number % products.len()]);
        async move { clients.hold(product_id, 1).await }
    });
    assert!(held.await.iter().all(Result::is_ok));
}

async fn sweep_all(database: &Database, batch: usize) -> Swept {
    let mut all = Swept::default();
    loop {
        let swept = expire_holds(database, UNIX_EPOCH, batch).await.unwrap();
        all.rows += swept.rows;
        all.stock_released += swept.stock_released;
        if swept.rows == 0 {
            return all;
        }
    }
}

/// Returns how many rows were swept, and how many units.
fn sums(swept: &Swept) -> (usize, i64) {
    (swept.rows, swept.stock_released)
}

async fn totals(sale: &Sale) -> Vec<String> {
    let sql = "SELECT runs, holds_expired, orders_cancelled, stock_released, last_run_at IS NULL FROM sweeper_state";
    sale.database.query_rows(sql).await.remove(0)
}

/// An expired hold's stock comes back without a request.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_holds_stock_comes_back_by_the_sweep_and_once() {
    let sale = Sale::start("expired_stock_comes_back_once").await;
    let (one, other) = (sale.product(10).await, sale.product(10).await);
    for (product_id, qty) in [(one, 2), (one, 3), (other, 4)] {
        sale.clients().hold(product_id, qty).await.unwrap();
    }
    let database = sale.sweeper_database();
    assert_eq!(
        expire_holds(&database, UNIX_EPOCH, 100).await.unwrap(),
        Swept::default(),
        "no hold is past its time yet"
    );
    sale.expire_all_holds().await;
    let active = sale.clients().hold(one, 1).await.unwrap();

    let swept = expire_holds(&database, UNIX_EPOCH, 100).await.unwrap();
    assert_eq!(sums(&swept), (3, 9));
    assert_eq!(swept.products, [one, other].map(|id| ProductId::parse(id).unwrap()).into());
    assert_eq!(expire_holds(&database, UNIX_EPOCH, 100).await.unwrap(), Swept::default());
    assert_eq!((sale.stock(one).await, sale.stock(other).await), (9, 10));
    assert_eq!(sale.hold_status(active.hold_id).await, "active");
    sale.finish().await;
}

/// This is why a sweep rests after a batch: buyers come first.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_sees_whether_one_of_its_products_is_being_sold() {
    let sale = Sale::start("a_sweep_sees_sales").await;
    let (one, other, third) = (sale.product(10).await, sale.product(10).await, sale.product(10).await);
    hold_many(&sale, &[one, other], 4).await;
    sale.expire_all_holds().await;
    let database = sale.sweeper_database();
    let swept = expire_holds(&database, UNIX_EPOCH, 100).await.unwrap();

    for (product_id, is_being_sold) in [(one, true), (other, true), (third, false)] {
        sale.database.move_times("UPDATE holds SET created_at = created_at - INTERVAL 2 SECOND").await;
        assert!(!swept.is_being_sold(&database).await.unwrap());
        sale.clients().hold(product_id, 1).await.unwrap();
        assert_eq!(swept.is_being_sold(&database).await.unwrap(), is_being_sold);
    }
    sale.finish().await;
}

/// A seller locks the product during the sweep's first batch, and has sold a unit by its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_rests_as_long_as_its_batch_took_while_its_product_is_being_sold() {
    const SOLD: Duration = Duration::from_millis(300);
    let sale = Sale::start("a_sweep_rests").await;
    let product_id = sale.product(10).await;
    hold_many(&sale, &[product_id], 2).await;
    sale.expire_all_holds().await;
    sale.database.move_times("UPDATE holds SET created_at = created_at - INTERVAL 1 HOUR").await;
    let mut seller = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let config = sale.sweeper(1);
    let swept = tokio::spawn(async move { sweeper::run(&config, future::pending()).await });
    wait::eventually(LIMIT, "the sweep to wait", async || sale.database.waiting_transactions().await == 1).await;
    wait::until(Instant::now() + SOLD).await;
    // The hold is ahead of the clock, so it counts as just made however long the sweep takes to look.
    let hold = format!(
        "INSERT INTO holds (product_id, qty, unit_price_cents, created_at, expires_at, request_id)
         VALUES ({product_id}, 1, 1000, UTC_TIMESTAMP(6) + INTERVAL 1 MINUTE, '2100-01-01', 'seller')"
    );
    seller.execute(&hold).await;
    seller.execute("UPDATE products SET available_stock = available_stock - 1").await;
    seller.execute("COMMIT").await;
    let Sweep::Done(report) = swept.await.unwrap().unwrap() else { panic!("no other sweep is running") };
    assert_eq!(report.holds_expired, 2);
    assert!(report.took >= SOLD * 2, "{:?}", report.took);
    sale.finish().await;
}

/// A sweep continues where its last batch ended, also between two rows of one moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_begins_where_the_one_before_it_ended() {
    let sale = Sale::start("a_batch_begins_where_one_ended").await;
    let product_id = sale.product(10).await;
    hold_many(&sale, &[product_id], 6).await;
    // Two rows are at 00:00:01, two at 00:00:02, two at 00:00:03, and one a microsecond later.
    let times = "UPDATE holds SET expires_at = '2020-01-01 00:00:00.000001' + INTERVAL (id + 1) DIV 2 SECOND";
    sale.database.move_times(times).await;
    let database = sale.sweeper_database();
    let first = expire_holds(&database, UNIX_EPOCH, 3).await.unwrap();
    let moment = UNIX_EPOCH + Duration::from_micros(1_577_836_802_000_001);
    let reached = SweepPosition { at: moment, id: 3 };
    assert_eq!((first.rows, first.look.reached), (3, Some(reached)));

    // A row of an earlier moment gets its units back in the next sweep.
    sale.database.move_times("UPDATE holds SET expires_at = '2019-12-31' WHERE id = 6").await;
    let product = SweepScope::Product(ProductId::stored(product_id));
    assert_eq!(expire_holds_of(&database, product, reached, 1).await.unwrap().rows, 1);
    assert_eq!(expire_holds_of(&database, SweepScope::AllProducts, reached, 10).await.unwrap().rows, 1);
    assert_eq!(expire_holds(&database, UNIX_EPOCH, 10).await.unwrap().rows, 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_active_holds_are_swept() {
    let sale = Sale::start("only_active_holds_are_swept").await;
    let product_id = sale.product(10).await;
    let pending = sale.ordered(product_id, 1).await;
    let (paid, failed) = (sale.ordered(product_id, 1).await, sale.ordered(product_id, 1).await);
    sale.clients().pay("paid", paid.order_id, PaymentStatus::Success).await.unwrap();
    sale.clients().pay("failed", failed.order_id, PaymentStatus::Failure).await.unwrap();
    let released = sale.clients().hold(product_id, 1).await.unwrap();
    sale.clients().release(released.hold_id).await.unwrap();
    sale.database.move_times("UPDATE holds SET expires_at = '2000-01-01'").await;

    assert_eq!(expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 100).await.unwrap().rows, 0);
    assert_eq!((sale.stock(product_id).await, sale.order_status(pending.order_id).await), (8, "pending".to_owned()));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_no_more_than_its_size_and_the_oldest_first() {
    let sale = Sale::start("a_batch_has_a_size").await;
    let product_id = sale.product(10).await;
    hold_many(&sale, &[product_id], 10).await;
    sale.database.move_times("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL id HOUR").await;
    assert_eq!(expire_holds(&sale.sweeper_database(), UNIX_EPOCH, 3).await.unwrap().rows, 3);
    assert_eq!(sale.count("holds WHERE status = 'expired' AND id IN (8, 9, 10)").await, 3);
    assert_eq!(sale.stored_stock(product_id).await, 3);

    let order = sale.ordered(product_id, 1).await;
    for _ in 0..2 {
        sale.ordered(product_id, 1).await;
    }
    sale.database.move_times("UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 10 - id HOUR").await;
    assert_eq!(sums(&cancel_overdue_orders(&sale.sweeper_database(), UNIX_EPOCH, 1).await.unwrap()), (1, 1));
    assert_eq!(sale.order_status(order.order_id).await, "cancelled");
    assert_eq!(sale.count("orders WHERE status = 'pending'").await, 2);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_sweeps_everything_in_batches_and_counts_it() {
    let sale = Sale::start("a_run_sweeps_everything").await;
    let (one, other) = (sale.product(10).await, sale.product(10).await);
    for _ in 0..3 {
        sale.ordered(one, 2).await;
    }
    hold_many(&sale, &[one, other], 7).await;
    assert_eq!(totals(&sale).await, ["0", "0", "0", "0", "1"]);
    sale.expire_all_holds().await;
    sale.let_all_orders_be_overdue().await;

    for (batches, holds_expired, orders_cancelled, stock_released) in [(6, 7, 3, 13), (0, 0, 0, 0)] {
        let Sweep::Done(report) = sweeper::run(&sale.sweeper(2), future::pending()).await.unwrap() else {
            panic!("no other sweep is running");
        };
        assert_eq!((report.batches, report.holds_expired), (batches, holds_expired));
        assert_eq!((report.orders_cancelled, report.stock_released), (orders_cancelled, stock_released));
    }
    assert_eq!((sale.stock(one).await, sale.stock(other).await), (10, 10));
    assert_eq!(totals(&sale).await, ["2", "7", "3", "13", "0"]);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finds_another_at_work_and_leaves_it_the_work() {
    let sale = Sale::start("another_sweep_is_running").await;
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 1).await.unwrap();
    sale.expire_all_holds().await;
    // The other sweep is stopped inside its batch, by a lock on the product that gets the units back.
    let mut holder = sale.database.lock_rows("products").await;
    let config = sale.sweeper(100);
    let first = tokio::spawn(async move { sweeper::run(&config, future::pending()).await });
    wait::eventually(LIMIT, "the first sweep to wait", async || sale.database.waiting_transactions().await == 1).await;

    let second = sweeper::run(&sale.sweeper(100), future::pending()).await.unwrap();
    assert_eq!(second, Sweep::AnotherIsRunning);
    holder.execute("ROLLBACK").await;
    let Sweep::Done(report) = first.await.unwrap().unwrap() else { panic!("the first sweep found another at work") };
    assert_eq!(report.holds_expired, 1);

    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_right_after_another_finds_it_ended() {
    let sale = Sale::start("a_run_right_after_another").await;
    for _ in 0..20 {
        assert!(matches!(sweeper::run(&sale.sweeper(100), future::pending()).await.unwrap(), Sweep::Done(_)));
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sweeps_at_once_of_1000_holds_give_each_back_once() {
    let sale = Sale::start("two_sweeps_at_once").await;
    let mut products = Vec::new();
    for _ in 0..5 {
        products.push(sale.product(200).await);
    }
    hold_many(&sale, &products, 1000).await;
    sale.expire_all_holds().await;
    let databases = [sale.sweeper_database(), sale.sweeper_database()];
    let swept = at_once(2, |number| {
        let database = databases[number].clone();
        async move { sweep_all(&database, 50).await }
    });
    let swept = swept.await;
    assert_eq!(swept[0].rows + swept[1].rows, 1000);
    assert_eq!(swept[0].stock_released + swept[1].stock_released, 1000);
    for product_id in products {
        assert_eq!(sale.stock(product_id).await, 200);
    }
    assert_eq!(totals(&sale).await[..4], ["0", "1000", "0", "1000"]);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_of_1000_holds_give_each_back_once() {
    let sale = Sale::start("two_runs_at_once").await;
    let product_id = sale.product(1000).await;
    hold_many(&sale, &[product_id], 1000).await;
    sale.expire_all_holds().await;
    let configs = [sale.sweeper(100), sale.sweeper(100)];
    let runs = at_once(2, |number| {
        let config = configs[number].clone();
        async move { sweeper::run(&config, future::pending()).await.unwrap() }
    });
    let expired = runs.await.into_iter().map(|run| match run {
        Sweep::Done(report) => report.holds_expired,
        Sweep::AnotherIsRunning | Sweep::AnotherIsStalled { .. } => 0,
    });
    assert_eq!(expired.sum::<usize>(), 1000);
    assert_eq!(sale.stock(product_id).await, 1000);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_holds_are_skipped_and_taken_next_time() {
    let sale = Sale::start("locked_holds_are_skipped").await;
    let product_id = sale.product(10).await;
    hold_many(&sale, &[product_id], 10).await;
    sale.expire_all_holds().await;
    let mut holder = sale.database.connect().await;
    holder.execute("BEGIN").await;
    for id in [2, 5, 9] {
        holder.query_rows(&format!("SELECT id FROM holds WHERE id = {id} FOR UPDATE")).await;
    }

    let database = sale.sweeper_database();
    assert_eq!(expire_holds(&database, UNIX_EPOCH, 100).await.unwrap().rows, 7);
    assert_eq!(sale.count("holds WHERE status = 'active' AND id IN (2, 5, 9)").await, 3);
    holder.execute("ROLLBACK").await;
    assert_eq!(expire_holds(&database, UNIX_EPOCH, 100).await.unwrap().rows, 3);
    assert_eq!(sale.stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_orders_are_skipped_and_taken_next_time() {
    let sale = Sale::start("locked_orders_are_skipped").await;
    let product_id = sale.product(10).await;
    let locked = sale.ordered(product_id, 1).await;
    sale.ordered(product_id, 2).await;
    sale.let_all_orders_be_overdue().await;
    let mut holder = sale.database.lock_rows(&format!("orders WHERE id = {}", locked.order_id)).await;

    let database = sale.sweeper_database();
    assert_eq!(sums(&cancel_overdue_orders(&database, UNIX_EPOCH, 100).await.unwrap()), (1, 2));
    holder.execute("ROLLBACK").await;
    assert_eq!(sums(&cancel_overdue_orders(&database, UNIX_EPOCH, 100).await.unwrap()), (1, 1));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overdue_orders_are_cancelled_and_paid_or_undue_ones_are_not() {
    let sale = Sale::start("overdue_orders_are_cancelled").await;
    let product_id = sale.product(10).await;
    let overdue = sale.ordered(product_id, 2).await;
    let paid = sale.ordered(product_id, 1).await;
    sale.let_all_orders_be_overdue().await;
    let undue = sale.ordered(product_id, 1).await;
    let never = sale.ordered(product_id, 1).await;
    let sql = format!("UPDATE orders SET payment_due_at = NULL WHERE id = {}", never.order_id);
    sale.database.execute(&sql).await;
    let in_time = sale.clients().pay("in time", paid.order_id, PaymentStatus::Success).await.unwrap();
    assert_eq!(in_time.order_status(), OrderStatus::Paid, "a payment before the sweep counts");

    let database = sale.sweeper_database();
    assert_eq!(sums(&cancel_overdue_orders(&database, UNIX_EPOCH, 100).await.unwrap()), (1, 2));
    assert_eq!(cancel_overdue_orders(&database, UNIX_EPOCH, 100).await.unwrap().rows, 0);
    assert_eq!(sale.hold_status(overdue.hold_id).await, "cancelled");
    for (order, status) in [(&overdue, "cancelled"), (&paid, "paid"), (&undue, "pending"), (&never, "pending")] {
        assert_eq!(sale.order_status(order.order_id).await, status);
    }
    let late = sale.clients().pay("late", overdue.order_id, PaymentStatus::Success).await.unwrap();
    assert_eq!((late.order_status(), late.refund_required), (OrderStatus::Cancelled, true));
    assert_eq!(sale.stock(product_id).await, 7);
    sale.finish().await;
}

/// A hold is ordered in time or expired, never both. The holds expire one by one while both are at work.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_swept_and_ordered_at_once_ends_exactly_one_way() {
    const HOLDS: usize = 200;
    let sale = Sale::start("swept_and_ordered_at_once").await;
    let product_id = sale.product(200).await;
    hold_many(&sale, &[product_id], HOLDS).await;
    let callers = Clients::connect_several(&sale.server.address(), 4).await;
    let database = sale.sweeper_database();
    sale.database.move_times("UPDATE holds SET expires_at = UTC_TIMESTAMP(6) + INTERVAL id * 1000 MICROSECOND").await;

    let sweeping = tokio::spawn(async move {
        let mut expired = 0;
        for _ in 0..100 {
            expired += expire_holds(&database, UNIX_EPOCH, 10).await.unwrap().rows;
        }
        expired
    });
    let ordered = at_once(HOLDS, |number| {
        let clients = callers[number % callers.len()].clone();
        async move { clients.order(i64::try_from(number).unwrap() + 1).await }
    });
    let ordered = ordered.await;
    let mut expired = sweeping.await.unwrap();
    sale.expire_all_holds().await;
    expired += sweep_all(&sale.sweeper_database(), 100).await.rows;

    for (number, result) in ordered.iter().enumerate() {
        let status = sale.hold_status(i64::try_from(number).unwrap() + 1).await;
        match result {
            Ok(_) => assert_eq!(status, "used"),
            Err(refused) => assert_eq!((reason(refused).as_str(), status.as_str()), ("HOLD_EXPIRED", "expired")),
        }
    }
    let used = ordered.iter().filter(|result| result.is_ok()).count();
    assert_eq!(used + expired, HOLDS);
    drop(callers);
    sale.finish().await;
}

/// An expired hold that was swept is over for everybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_swept_hold_can_be_neither_ordered_nor_swept_again() {
    let sale = Sale::start("a_swept_hold_is_over").await;
    let product_id = sale.product(1).await;
    let hold = sale.clients().hold(product_id, 1).await.unwrap();
    sale.expire_all_holds().await;
    sweep_all(&sale.sweeper_database(), 100).await;
    assert_refused(sale.clients().order(hold.hold_id).await, Code::FailedPrecondition, "HOLD_EXPIRED");
    sale.database.move_times("UPDATE holds SET expires_at = '2000-01-01'").await;
    assert_eq!(sweep_all(&sale.sweeper_database(), 100).await.rows, 0);
    assert_eq!(sale.stock(product_id).await, 1);
    sale.finish().await;
}

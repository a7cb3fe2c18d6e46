//! Does everything at once, on few products, with two servers and two sweepers, and compares each answer with the rows.
//!
//! One server's holds and orders have short times, so sweeps, releases, orders and payments meet. What the workers do
//! is drawn from a fixed sequence. What becomes of it depends on who comes first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

use flashsale::{
    checkout::{Settings, cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    db::Database,
    pb::{Hold, HoldStatus, Order, OrderStatus, PaymentStatus},
};
use tonic::Status;

use crate::support::{
    client::{Clients, reason},
    sale::repeatable_hold,
    server::{Sale, TestServer, default_settings},
};

const WORKERS: usize = 16;
const STEPS: u32 = 120;
const PRODUCTS: u64 = 3;
const STOCK: i64 = 60;

/// Makes a fixed sequence of numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Holds the answers that one worker got.
#[derive(Default)]
struct Answers {
    holds: Vec<Hold>,
    orders: Vec<Order>,
    released: Vec<Hold>,
    /// By key: the order, its status, and whether a refund is due.
    payments: BTreeMap<String, (i64, OrderStatus, bool)>,
    swept: [usize; 2],
}

/// Takes a refusal by the rules as an answer, and fails the test for anything else.
fn expect<T>(result: Result<T, Status>, reasons: &[&str]) -> Option<T> {
    match result {
        Ok(answer) => Some(answer),
        Err(status) if reasons.contains(&reason(&status).as_str()) => None,
        Err(status) => panic!("{status:?}"),
    }
}

struct Worker {
    number: usize,
    numbers: Numbers,
    clients: Clients,
    database: Database,
    answers: Answers,
}

impl Worker {
    async fn work(mut self) -> Answers {
        for step in 0..STEPS {
            match self.numbers.below(10) {
                0..4 => self.hold(step).await,
                4 => self.release().await,
                5..7 => self.order().await,
                7..9 => self.pay(step).await,
                _ => self.sweep().await,
            }
        }
        self.answers
    }

    async fn hold(&mut self, step: u32) {
        let product_id = i64::try_from(self.numbers.below(PRODUCTS)).unwrap() + 1;
        let qty = i32::try_from(self.numbers.below(3)).unwrap() + 1;
        let request = repeatable_hold(product_id, qty, &format!("{}-{step}", self.number));
        let Some(hold) = expect(self.clients.hold_by(request.clone()).await, &["OUT_OF_STOCK"]) else { return };
        assert_eq!((hold.product_id, hold.qty, hold.status()), (product_id, qty, HoldStatus::Active));
        if self.numbers.below(4) == 0 {
            let again = self.clients.hold_by(request).await.unwrap();
            let as_it_was = Hold { status: hold.status, ..again };
            assert_eq!(as_it_was, hold, "a repeat gets the same hold, whatever became of it");
        }
        self.answers.holds.push(hold);
    }

    /// Returns one of the worker's last holds, or another worker's, or an id without a hold.
    fn any_hold(&mut self) -> i64 {
        let newest = self.answers.holds.last().map_or(1, |hold| hold.hold_id);
        let back = usize::try_from(self.numbers.below(3)).unwrap();
        let own = self.answers.holds.iter().rev().nth(back).map(|hold| hold.hold_id);
        let another = newest + i64::try_from(self.numbers.below(8)).unwrap();
        own.filter(|_| self.numbers.below(4) > 0).unwrap_or(another)
    }

    async fn release(&mut self) {
        let hold_id = self.any_hold();
        let released = self.clients.release(hold_id).await;
        let Some(hold) = expect(released, &["HOLD_USED", "HOLD_NOT_FOUND"]) else { return };
        assert!(matches!(hold.status(), HoldStatus::Cancelled | HoldStatus::Expired), "{hold:?}");
        self.answers.released.push(hold);
    }

    async fn order(&mut self) {
        let hold_id = self.any_hold();
        let refusals = ["HOLD_USED", "HOLD_EXPIRED", "HOLD_CANCELLED", "HOLD_NOT_FOUND"];
        let Some(order) = expect(self.clients.order(hold_id).await, &refusals) else { return };
        assert_eq!((order.hold_id, order.status()), (hold_id, OrderStatus::Pending));
        self.answers.orders.push(order);
    }

    async fn pay(&mut self, step: u32) {
        let newest = self.answers.orders.last().map_or(1, |order| order.order_id);
        let order_id = (newest + 2 - i64::try_from(self.numbers.below(10)).unwrap()).max(1);
        let status = if self.numbers.below(3) == 0 { PaymentStatus::Failure } else { PaymentStatus::Success };
        // Other workers deliver these keys, too, and sometimes for another order.
        let key =
            if self.numbers.below(3) == 0 { format!("shared {order_id}") } else { format!("{}-{step}", self.number) };
        let key = if self.numbers.below(10) == 0 { "everybody's".to_owned() } else { key };
        let paid = self.clients.pay(&key, order_id, status).await;
        let Some(answer) = expect(paid, &["ORDER_NOT_FOUND", "IDEMPOTENCY_KEY_REUSED"]) else { return };
        let result = (order_id, answer.order_status(), answer.refund_required);
        let before = self.answers.payments.insert(key, result);
        assert!(before.is_none_or(|before| before == result), "{before:?}, then {result:?}");
    }

    async fn sweep(&mut self) {
        self.answers.swept[0] += expire_holds(&self.database, UNIX_EPOCH, 5).await.unwrap().rows;
        self.answers.swept[1] += cancel_overdue_orders(&self.database, UNIX_EPOCH, 5).await.unwrap().rows;
    }
}

async fn check(sale: &Sale, all: Vec<Answers>) {
    let rows = async |sql: &str| sale.database.query_rows(sql).await;
    let number = |text: &str| text.parse::<i64>().unwrap();

    let stored = rows("SELECT id, status FROM holds").await;
    let holds: BTreeMap<i64, &str> = stored.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    let answered: BTreeSet<i64> = all.iter().flat_map(|one| &one.holds).map(|hold| hold.hold_id).collect();
    assert_eq!(answered, holds.keys().copied().collect(), "the holds that were answered are those stored");
    for hold in all.iter().flat_map(|one| &one.released) {
        let expected = if hold.status() == HoldStatus::Cancelled { "cancelled" } else { "expired" };
        assert_eq!(holds[&hold.hold_id], expected, "an ended hold stays as it ended");
    }

    let stored = rows("SELECT id, hold_id, status FROM orders").await;
    let made: BTreeMap<i64, i64> =
        all.iter().flat_map(|one| &one.orders).map(|order| (order.order_id, order.hold_id)).collect();
    assert_eq!(made, stored.iter().map(|row| (number(&row[0]), number(&row[1]))).collect());
    let orders: BTreeMap<i64, &str> = stored.iter().map(|row| (number(&row[0]), row[2].as_str())).collect();

    let events = rows("SELECT idempotency_key, order_id, order_status, result FROM payment_webhooks").await;
    let mut keys = BTreeSet::new();
    for (key, (order_id, status, refund)) in all.iter().flat_map(|one| &one.payments) {
        keys.insert(key);
        let row = events.iter().find(|row| row[0] == *key).unwrap();
        assert_eq!(number(&row[1]), *order_id, "{key}");
        assert_eq!(row[2], status.as_str_name().trim_start_matches("ORDER_STATUS_").to_lowercase(), "{key}");
        assert_eq!(["late_success", "duplicate_success", "amount_mismatch"].contains(&&*row[3]), *refund, "{key}");
    }
    assert_eq!(keys.len(), events.len(), "every event stored was answered");
    for (order_id, status) in orders {
        let applied: Vec<_> = events.iter().filter(|row| number(&row[1]) == order_id && row[3] == "applied").collect();
        assert!(applied.len() <= 1, "order {order_id} was settled twice: {applied:?}");
        match applied.first() {
            Some(event) => assert_eq!(event[2], status, "order {order_id} stays as it was settled"),
            None => assert_ne!(status, "paid", "order {order_id} was paid by nobody"),
        }
    }

    let happened: BTreeSet<&str> = holds.values().copied().chain(events.iter().map(|row| row[3].as_str())).collect();
    let all_kinds = ["applied", "cancelled", "duplicate_success", "expired", "late_success", "unchanged", "used"];
    assert!(happened.is_superset(&all_kinds.into()), "it was no storm: only {happened:?}");

    let swept: [usize; 2] = [0, 1].map(|kind| all.iter().map(|one| one.swept[kind]).sum());
    let totals = rows("SELECT holds_expired, orders_cancelled FROM sweeper_state").await;
    assert_eq!(totals[0], swept.map(|count| count.to_string()));
}

/// Stock is conserved at every commit, so it is checked in the middle of the storm, too.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_of_everything_nothing_is_lost_and_every_answer_holds() {
    let sale = Sale::start("a_storm_of_everything").await;
    let hasty =
        Settings { hold_ttl: Duration::from_millis(5), payment_due: Some(Duration::ZERO), ..default_settings() };
    let second = TestServer::start_with(&sale.database.url(), hasty).await;
    for _ in 0..PRODUCTS {
        sale.product(STOCK).await;
    }
    let databases = [sale.sweeper_database(), sale.sweeper_database()];
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let address = if number % 2 == 0 { sale.server.address() } else { second.address() };
        let worker = Worker {
            number,
            numbers: Numbers(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1)),
            clients: Clients::connect(&address).await,
            database: databases[number % 2].clone(),
            answers: Answers::default(),
        };
        workers.push(tokio::spawn(worker.work()));
    }
    while !workers.iter().all(tokio::task::JoinHandle::is_finished) {
        sale.database.assert_conserved().await;
    }
    let mut all = Vec::new();
    for worker in workers {
        all.push(worker.await.unwrap());
    }
    check(&sale, all).await;
    second.stop().await;
    sale.finish().await;
}

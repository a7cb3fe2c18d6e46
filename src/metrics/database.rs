//! Transactions, what went wrong with them, and the pool of connections.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Instant,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};

use super::{
    labels::{CONFLICTS, RETRY_REASONS, TRANSACTIONS},
    pipeline::meter,
};

/// Names the database, as the conventions name what is spoken to by MySQL's protocol.
const SYSTEM: &str = "mysql";
/// Names the one pool of a program.
const POOL: &str = "flashsale";

/// Bounds the buckets of durations of transactions, in seconds: the advice of the conventions.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

static OPERATIONS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram("db.client.operation.duration")
        .with_description("How long runs of transactions took, with the wait for a connection")
        .with_unit("s")
        .with_boundaries(BUCKETS.to_vec())
        .build()
});
static CONFLICTS_SEEN: LazyLock<Counter<u64>> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.db.lock_conflicts")
        .with_description("Deadlocks and lock waits that the database reported")
        .with_unit("{conflict}")
        .build();
    show(&counter, "kind", CONFLICTS);
    counter
});
static RETRIES: LazyLock<Counter<u64>> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.transaction.retries")
        .with_description("Transactions that were run again")
        .with_unit("{retry}")
        .build();
    show(&counter, "reason", RETRY_REASONS);
    counter
});
static VIOLATIONS: LazyLock<Counter<u64>> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.db.guard_violations")
        .with_description("Transactions that a last guard of the database refused: each is a bug, or a change by hand")
        .with_unit("{transaction}")
        .build();
    counter.add(0, &[]);
    counter
});
static TIMEOUTS: LazyLock<Counter<u64>> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("db.client.connection.timeouts")
        .with_description("Transactions that no connection came free for in time")
        .with_unit("{timeout}")
        .build();
    counter.add(0, &[KeyValue::new("db.client.connection.pool.name", POOL)]);
    counter
});

/// Shows a counter from 0 for all transactions of a server and these values of another label.
fn show(counter: &Counter<u64>, key: &'static str, values: &[&'static str]) {
    for transaction in TRANSACTIONS.iter() {
        for value in values {
            counter.add(0, &labels(transaction, key, value));
        }
    }
}

fn labels(transaction: &'static str, key: &'static str, value: &'static str) -> [KeyValue; 2] {
    [KeyValue::new("transaction", transaction), KeyValue::new(key, value)]
}

/// Measures one run of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    transaction: &'static str,
    began: Instant,
}

impl Ran {
    /// Begins to measure.
    pub fn begin(transaction: &'static str) -> Self {
        Self { transaction, began: Instant::now() }
    }

    /// Records that the run has ended. `failure` names what went wrong, if anything did.
    pub fn end(self, failure: Option<&'static str>) {
        let seconds = self.began.elapsed().as_secs_f64();
        let [system, name] =
            [KeyValue::new("db.system.name", SYSTEM), KeyValue::new("db.operation.name", self.transaction)];
        match failure {
            None => OPERATIONS.record(seconds, &[system, name]),
            Some(failure) => OPERATIONS.record(seconds, &[system, name, KeyValue::new("error.type", failure)]),
        }
    }
}

/// Counts a conflict over locks: `deadlock` or `lock_wait`.
pub fn count_lock_conflict(transaction: &'static str, kind: &'static str) {
    CONFLICTS_SEEN.add(1, &labels(transaction, "kind", kind));
}

/// Counts a transaction that is run again, by the failure of its last run.
pub fn count_retry(transaction: &'static str, reason: &'static str) {
    RETRIES.add(1, &labels(transaction, "reason", reason));
}

/// Counts a transaction that a last guard of the database refused.
pub fn count_violation() {
    VIOLATIONS.add(1, &[]);
}

/// Counts a transaction that no connection came free for in time.
pub fn count_pool_timeout() {
    TIMEOUTS.add(1, &[KeyValue::new("db.client.connection.pool.name", POOL)]);
}

/// Counts the connections of a pool at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Connections that a transaction has.
    pub used: usize,
    /// Connections that wait for one.
    pub idle: usize,
    /// Connections that there may be.
    pub max: usize,
    /// Transactions that wait for a connection.
    pub pending: usize,
}

/// Looks at the program's pool, or returns `None` once it is gone.
type LookAtPool = Box<dyn Fn() -> Option<PoolFigures> + Send + Sync>;

static LOOK_AT_POOL: Mutex<Option<LookAtPool>> = Mutex::new(None);

fn pool() -> PoolFigures {
    let look = LOOK_AT_POOL.lock().unwrap_or_else(PoisonError::into_inner);
    look.as_ref().and_then(|look| look()).unwrap_or_default()
}

/// Shows the pool of the program, which `look` counts.
pub fn watch_pool(look: impl Fn() -> Option<PoolFigures> + Send + Sync + 'static) {
    *LOOK_AT_POOL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(look));
}

fn observed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn show_pool() {
    let name = || KeyValue::new("db.client.connection.pool.name", POOL);
    let state = |state: &'static str| KeyValue::new("db.client.connection.state", state);
    let _count = meter()
        .i64_observable_up_down_counter("db.client.connection.count")
        .with_description("Connections to the database, by what they do")
        .with_unit("{connection}")
        .with_callback(move |observer| {
            let PoolFigures { used, idle, .. } = pool();
            observer.observe(observed(idle), &[name(), state("idle")]);
            observer.observe(observed(used), &[name(), state("used")]);
        })
        .build();
    let _max = meter()
        .i64_observable_up_down_counter("db.client.connection.max")
        .with_description("Connections to the database that there may be")
        .with_unit("{connection}")
        .with_callback(move |observer| observer.observe(observed(pool().max), &[name()]))
        .build();
    let _pending = meter()
        .i64_observable_up_down_counter("db.client.connection.pending_requests")
        .with_description("Transactions that wait for a connection to the database")
        .with_unit("{request}")
        .with_callback(move |observer| observer.observe(observed(pool().pending), &[name()]))
        .build();
}

pub(super) fn start() {
    static POOL_SHOWN: LazyLock<()> = LazyLock::new(show_pool);
    LazyLock::force(&CONFLICTS_SEEN);
    LazyLock::force(&RETRIES);
    LazyLock::force(&VIOLATIONS);
    LazyLock::force(&TIMEOUTS);
    LazyLock::force(&POOL_SHOWN);
}

//! The one door to the database: pool, sessions, and [`Database::transaction`].
//!
//! Every transaction has a name, which is its span and its label in the metrics. It reads, decides, and returns a
//! [`Plan`]: what to write, which goes out together with the COMMIT ([`statement`]). It may run several times, so it
//! changes nothing but the database.
//!
//! | failure | what happens | at most |
//! |---|---|---|
//! | deadlock | the whole transaction again after 5 to 80 ms, jittered | 5 × |
//! | lock wait (3 s) | ROLLBACK, again | 1 × |
//! | server away, read-only, shutting down; session killed; no answer to BEGIN (5 s) or a read (10 s) | all idle connections dropped, again on a new one | 3 × |
//! | a run takes more than 10 s | its connection dropped, again on another | 1 × |
//! | duplicate key | ROLLBACK, again: the other's row is seen | 3 × |
//! | any other error of the script that ends in COMMIT: its outcome is unknown | connection dropped, again | 3 × |
//! | CHECK, row count | never again; an alarm in the log | |
//! | a wrong statement | never again | |
//!
//! Once a run's outcome is unknown, whatever ends the transaction later, all that a caller may be told is
//! `Unavailable`: try again with the same request_id.
//!
//! A run after the first looks up every request_id, the made-up ones too, and starts by locking the rows that decide.
//! So a commit whose answer was lost is found, even if it completes only later; [`Committed::unsettled`] tells the
//! caller that it is its own.
//!
//! A hot product's transaction is one text from BEGIN to COMMIT, planned on what is known of the product and failing
//! where that isn't so any more ([`Database::transaction_at_once`]).

pub mod audit;
mod classify;
pub mod holds;
pub mod migrate;
pub mod named_lock;
pub mod orders;
pub mod payment_exceptions;
pub mod payment_webhooks;
pub mod products;
mod retry;
pub mod sale_stats;
mod session;
pub mod statement;
pub mod stock_adjustments;
pub mod sweeper_state;
pub mod taken;

use std::time::{Duration, SystemTime};

use deadpool::managed::TimeoutType;
use diesel_async::{
    AsyncMysqlConnection, SimpleAsyncConnection,
    pooled_connection::deadpool::{Object, Pool, PoolError},
};
use tokio::time::Instant;
use tracing::{Instrument, debug_span, error, warn};

pub use classify::{Failure, FailureKind};
pub use session::check_url;
pub use statement::{InsertedIds, Script};

use crate::{config::DatabaseConfig, error::Error};
use retry::Retries;
use statement::{AsksFor, Inserted};

/// A session of the database.
pub type Connection = AsyncMysqlConnection;

/// How long one run of a transaction may take, from its first statement after BEGIN to the answer of its COMMIT. Over
/// three times innodb_lock_wait_timeout, which bounds the wait for one lock; a statement or a script may wait for
/// several, one after the other. So a run that gets there says nothing of the server: only its own connection is
/// dropped, and the caller, whose patience is about that long, gets one more run. Reads wait for no lock: with them it
/// is the server.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// How long the answer to BEGIN may take, which waits for nothing: only a server or a network that hangs gets there. A
/// run begins with it, so this is how the next run tells a hanging server from locks.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What a transaction decided: its writes, and the value to return once they are committed.
#[derive(Debug)]
pub struct Plan<T> {
    /// What to write.
    pub script: Script,
    /// What to return.
    pub value: T,
}

/// A transaction that has committed.
#[derive(Debug)]
pub struct Committed<T> {
    /// What the last run returned.
    pub value: T,
    /// The ids of its last INSERT, where the script asks for them.
    pub ids: InsertedIds,
    /// When it came to that INSERT, where the script asks for that, too.
    pub moment: Option<SystemTime>,
    /// What runs before it returned whose COMMIT got no answer. What such a run was about to do, and the last one found
    /// done, is this call's own doing and no earlier one's.
    pub unsettled: Vec<T>,
}

/// The statements of a transaction, up to its plan. `attempt` counts from 0.
///
/// A trait only to name the future, which has to be `Send`: pass an `async |conn, attempt| { … }` without `move`.
pub trait Body<'c, T>: FnMut(&'c mut Connection, u32) -> Self::Future + Send {
    /// What the closure returns.
    type Future: Future<Output = Result<T, Failure>> + Send;
}

impl<'c, T, F, R> Body<'c, T> for F
where
    F: FnMut(&'c mut Connection, u32) -> R + Send,
    R: Future<Output = Result<T, Failure>> + Send,
{
    type Future = R;
}

/// The database: a pool of sessions.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Connection>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("pool", &self.pool.status()).finish()
    }
}

impl Database {
    /// A pool that connects when it is used.
    ///
    /// # Errors
    /// `Internal` where the pool can't be built, which only a wrong build does.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let pool = session::pool(config).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { pool })
    }

    /// Runs a transaction: `body`, then its plan with the COMMIT.
    ///
    /// # Errors
    /// `LockContention`, `Unavailable` and `Overloaded` after the retries above; `Internal` for anything else.
    pub async fn transaction<T, B>(&self, name: &'static str, body: B) -> Result<Committed<T>, Error>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        self.transaction_at_once(None, name, body).await
    }

    /// As [`Database::transaction`], whose first run is the plan `first`, where there is one: without a look at anything,
    /// sent as one text. So its script has to fail where what it was planned on isn't so any more, by a row count or a
    /// unique key. Then nothing of it is done, and `body` runs as if for the first time.
    ///
    /// Only such a run may begin after a later one has ended, where its text was still on its way when its connection
    /// broke: then its unique keys are taken, or it makes what nobody is told of. And as it has no BEGIN of its own, a
    /// server that hangs is only noticed when its time as a whole is over.
    ///
    /// # Errors
    /// As [`Database::transaction`].
    pub async fn transaction_at_once<T, B>(
        &self,
        mut first: Option<Plan<T>>,
        name: &'static str,
        mut body: B,
    ) -> Result<Committed<T>, Error>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        let mut retries = Retries::new(name);
        let mut unsettled = Vec::new();
        loop {
            let span = debug_span!("transaction", name);
            let (run, is_refutable) = match first.take() {
                Some(plan) => (self.at_once(plan).instrument(span).await, true),
                None => (self.attempt(retries.attempt(), &mut body).instrument(span).await, false),
            };
            let Failed { failure, planned } = match run {
                Ok((value, Inserted { ids, moment })) => return Ok(Committed { value, ids, moment, unsettled }),
                Err(failed) => failed,
            };
            if is_refutable && failure.refutes_plan() {
                continue;
            }
            self.after(name, &failure);
            if let Some(planned) = planned {
                retries.remember_unknown_outcome();
                unsettled.push(planned);
            }
            retries.wait_after(failure).await?;
        }
    }

    /// Runs statements that only read, without a transaction: each sees what was committed when it began.
    ///
    /// # Errors
    /// As [`Database::transaction`].
    pub async fn read<T, B>(&self, name: &'static str, body: B) -> Result<T, Error>
    where
        T: Send,
        B: for<'c> Body<'c, T>,
    {
        self.read_within(ATTEMPT_LIMIT, name, body).await
    }

    /// As [`Database::read`], for statements that read more than one answer needs: `limit` is what one run may take.
    ///
    /// # Errors
    /// As [`Database::transaction`].
    pub async fn read_within<T, B>(&self, limit: Duration, name: &'static str, mut body: B) -> Result<T, Error>
    where
        T: Send,
        B: for<'c> Body<'c, T>,
    {
        let mut retries = Retries::new(name);
        loop {
            let attempt = retries.attempt();
            let run = async {
                let mut lease = self.lease().await?;
                let value = within(limit, body(lease.connection()?, attempt)).await?;
                lease.give_back();
                Ok(value)
            };
            let failure: Failure = match run.instrument(debug_span!("read", name)).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            self.after(name, &failure);
            retries.wait_after(failure).await?;
        }
    }

    async fn attempt<T, B>(&self, attempt: u32, body: &mut B) -> Result<(T, Inserted), Failed<T>>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        let mut lease = self.lease().await?;
        within(ANSWER_LIMIT, async { Ok(lease.connection()?.batch_execute("BEGIN").await?) }).await?;
        let deadline = Instant::now() + ATTEMPT_LIMIT;
        let conn = lease.connection()?;
        let result = match until(deadline, body(&mut *conn, attempt)).await {
            Ok(plan) => commit(conn, deadline, plan, Script::into_commit).await,
            Err(failure) => Err(failure.into()),
        };
        lease.end_run(result).await
    }

    async fn at_once<T: Send>(&self, plan: Plan<T>) -> Result<(T, Inserted), Failed<T>> {
        let mut lease = self.lease().await?;
        let deadline = Instant::now() + ATTEMPT_LIMIT;
        let result = commit(lease.connection()?, deadline, plan, Script::into_transaction).await;
        lease.end_run(result).await
    }

    /// Drops what else the failure has spoiled, and says so where a person should know.
    fn after(&self, transaction: &'static str, failure: &Failure) {
        match failure.kind {
            FailureKind::Away => {
                self.pool.retain(|_, _| false);
                warn!(transaction, error = failure.text, "Database connection lost");
            }
            FailureKind::Check | FailureKind::RowCount => {
                error!(transaction, error = failure.text, "A last guard of the database refused a transaction");
            }
            FailureKind::TooLong => warn!(transaction, error = failure.text, "Transaction took too long"),
            FailureKind::Other | FailureKind::Wrong => {
                warn!(transaction, error = failure.text, "Database statement failed")
            }
            FailureKind::Deadlock | FailureKind::LockWait | FailureKind::Duplicate | FailureKind::PoolBusy => {}
        }
    }

    async fn lease(&self) -> Result<Lease, Failure> {
        match self.pool.get().await {
            Ok(object) => Ok(Lease(Some(object))),
            Err(error) => {
                let kind = match &error {
                    PoolError::Timeout(TimeoutType::Wait) => FailureKind::PoolBusy,
                    _ => FailureKind::Away,
                };
                Err(Failure { kind, text: format!("no connection: {error}") })
            }
        }
    }
}

/// A run that failed, and what it had planned where it may have committed all the same.
struct Failed<T> {
    failure: Failure,
    planned: Option<T>,
}

impl<T> From<Failure> for Failed<T> {
    fn from(failure: Failure) -> Self {
        Self { failure, planned: None }
    }
}

/// Sends a plan's script as the text that `into_text` makes of it, and learns what it asks for.
async fn commit<T>(
    conn: &mut Connection,
    deadline: Instant,
    Plan { script, value }: Plan<T>,
    into_text: fn(Script) -> String,
) -> Result<(T, Inserted), Failed<T>> {
    let asks_for = script.asks_for();
    let text = into_text(script);
    let committed = async { Ok(conn.batch_execute(&text).await?) };
    if let Err(failure) = until(deadline, committed).await {
        let planned = failure.leaves_commit_open().then_some(value);
        return Err(Failed { failure, planned });
    }
    if asks_for == AsksFor::Nothing {
        return Ok((value, Inserted::default()));
    }
    match within(ANSWER_LIMIT, session::inserted(conn, asks_for)).await {
        Ok(inserted) => Ok((value, inserted)),
        // It has committed, and only a run that finds that knows the ids.
        Err(failure) => Err(Failed { failure, planned: Some(value) }),
    }
}

async fn within_limit<T>(run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    within(ATTEMPT_LIMIT, run).await
}

/// Runs what waits for no lock.
async fn within<T>(limit: Duration, run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, run).await.unwrap_or_else(|_| {
        Err(Failure { kind: FailureKind::Away, text: format!("no answer in {} s", limit.as_secs()) })
    })
}

/// Runs what may wait for locks.
async fn until<T>(deadline: Instant, run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout_at(deadline, run).await.unwrap_or_else(|_| {
        Err(Failure { kind: FailureKind::TooLong, text: format!("not done in {} s", ATTEMPT_LIMIT.as_secs()) })
    })
}

/// A connection out of the pool. It goes back only by [`Lease::give_back`]; dropped, even half-way through a
/// transaction, it is closed.
struct Lease(Option<Object<Connection>>);

impl Lease {
    /// Ends a run, for better or worse.
    async fn end_run<T>(self, result: Result<(T, Inserted), Failed<T>>) -> Result<(T, Inserted), Failed<T>> {
        match &result {
            Ok(_) => self.give_back(),
            Err(Failed { failure, .. }) => self.end(failure).await,
        }
        result
    }

    /// Ends a transaction that failed. Dropping the connection closes it, and the server rolls back.
    async fn end(self, failure: &Failure) {
        if failure.spares_connection() {
            self.roll_back().await;
        }
    }

    async fn roll_back(mut self) {
        let rollback = async { Ok(self.connection()?.batch_execute("ROLLBACK").await?) };
        if within_limit(rollback).await.is_ok() {
            self.give_back();
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Failure> {
        let object = self.0.as_deref_mut();
        object.ok_or_else(|| Failure { kind: FailureKind::Other, text: "the connection was given back".to_owned() })
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

//! The one door to the database: pool, sessions, and [`Database::transaction`].
//!
//! Every transaction has a name, which its spans have, and its label in the metrics. It reads, decides, and returns a
//! [`Plan`]. The plan's [`Script`] goes to the server together with the COMMIT. A transaction may run several times, so it
//! changes nothing but the database.
//!
//! | failure | what happens | at most |
//! |---|---|---|
//! | deadlock | the whole transaction again after 5 to 80 ms, jittered | 5 × |
//! | lock wait (1 s, on MySQL up to 2 s) | ROLLBACK; the caller decides whether to go on waiting | |
//! | server away, read-only, shutting down; session killed; no answer to BEGIN (5 s) or a read (10 s) | all idle connections dropped, again on a new one | 3 × |
//! | a connection can't be made | the idle ones kept, again | 3 × |
//! | the database has no room for a connection | the call waits for one that is there, 3 s | |
//! | a run takes more than 10 s | its connection dropped, again on another | 1 × |
//! | duplicate key | ROLLBACK, again: now the other transaction's row is seen | 3 × |
//! | any other error of the script that ends in COMMIT: its outcome is unknown | connection dropped, again | 3 × |
//! | CHECK, row count | never again; an alarm in the log | |
//! | a right that the account lacks; a wrong statement | never again | |
//!
//! A run whose connection was dropped may still have a session at the database. The next run ends that session first, by
//! KILL if need be. So nothing that the earlier run sent can take effect later, and the next run finds all that it
//! committed. A run after the first looks up every request_id, the made-up ones too.
//!
//! Once a run's outcome is unknown, a later error tells the caller `Unavailable`, whatever it is: the call may be repeated
//! with the same request_id. The next run may find that the work is done. It can't tell by whom, because two servers may
//! have done the same at the same moment. Work for a request_id that this server made up counts as this call's own. Work
//! for a caller's request_id counts as done before. So nothing is told or logged as new twice.
//!
//! No run begins for a caller who has gone: another server may have changed meanwhile what the caller wanted.
//!
//! An optimistic transaction is one text from BEGIN to COMMIT ([`Transactions::optimistic_transaction`]). It is planned on
//! what this server last saw, and it fails where that has changed.

pub mod audit;
pub mod audit_state;
pub mod buyer_units;
mod classify;
mod columns;
mod denied;
pub mod due;
#[cfg(test)]
mod fuzz;
pub mod grants;
mod heartbeat;
pub mod holds;
pub mod lapsed;
pub mod migrate;
pub mod named_lock;
pub mod operator_actions;
pub mod orders;
pub mod payment_exceptions;
pub mod payment_webhooks;
pub mod products;
pub mod purge;
mod read;
mod render;
mod retry;
pub mod sale_figures;
pub mod sale_stats;
#[expect(unreachable_pub, reason = "as diesel print-schema writes it")]
mod schema;
mod script;
mod session;
mod statement;
pub mod stock_adjustments;
pub mod sweeper_state;
mod traced;
mod transaction;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use deadpool::managed::{Object, PoolError};
use diesel_async::AsyncMysqlConnection;
use tokio::time::Instant;
use tracing::{error, warn};

pub use classify::{Failure, FailureKind};
pub use denied::SEE_GRANTS;
pub use render::with_literals;
pub use script::{InsertedIds, Script};
pub use session::{check_url, database_of};
pub use transaction::Transactions;

use crate::{
    config::DatabaseConfig,
    error::Error,
    metrics::{self, PoolFigures, Ran},
    spans,
};
use heartbeat::Heartbeat;
use retry::Retries;
use session::{
    NoSession, POOL_WAIT_MAX, Pool, Session, Sessions,
    room::{Place, Room},
};
use traced::send;

/// Runs statements in one session of the database.
pub type Connection = AsyncMysqlConnection;

/// Limits one run of a transaction, from its first statement after BEGIN to the answer of its COMMIT.
///
/// A script may wait for several locks, one after the other, each for innodb_lock_wait_timeout at the most. So a run that
/// reaches this limit says nothing about the server: only its own connection is dropped, and the transaction gets one more
/// run. A read waits for no lock. Where a read reaches the limit, the server is at fault.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// Limits the wait for the answer to BEGIN, which waits for no lock. Only a server or a network that hangs takes so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Holds what a transaction decided: its writes, and the value to return once they are committed.
#[derive(Debug)]
pub struct Plan<T> {
    /// What to write.
    pub script: Script,
    /// What to return.
    pub value: T,
}

/// Holds what a committed transaction returned.
#[derive(Debug)]
pub struct Committed<T> {
    /// What the last run returned.
    pub value: T,
    /// The ids that its last INSERT was given, where the script asks for them.
    pub ids: InsertedIds,
    /// When the script came to that INSERT, by the database's clock, where the script asks for the time.
    pub script_time: Option<SystemTime>,
}

/// Runs the statements of a transaction, up to its plan. `attempt` counts from 0.
///
/// It is a trait only to name the future, which has to be `Send`. Pass an `async |conn, attempt| { … }` without `move`.
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

/// Stands for the database: a pool of sessions.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    room: Arc<Room>,
    heartbeat: Heartbeat,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("pool", &self.pool.status()).finish()
    }
}

impl Database {
    /// Makes a pool that connects when it is used.
    ///
    /// # Errors
    /// `Internal` where the pool can't be built, which only a wrong build does.
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let pool = session::pool(config).map_err(Error::Internal)?;
        Ok(Self { pool, room: Arc::new(Room::new(config.pool_size)), heartbeat: Heartbeat::new() })
    }

    /// Runs transactions that callers wait for.
    ///
    /// `wanted` is asked before each run whether all callers still wait; if not, the run doesn't begin. `outcome_unknown`
    /// says whether an earlier run for these callers may have committed, and is set once a run here may have.
    pub fn for_callers<'a>(
        &'a self,
        wanted: &'a (dyn Fn() -> bool + Send + Sync),
        outcome_unknown: &'a AtomicBool,
    ) -> Transactions<'a> {
        Transactions { database: self, wanted, outcome_unknown: Some(outcome_unknown) }
    }

    /// Runs transactions that no caller waits for.
    pub fn unattended(&self) -> Transactions<'_> {
        Transactions { database: self, wanted: &|| true, outcome_unknown: None }
    }

    /// Runs a transaction that no caller waits for.
    ///
    /// # Errors
    /// The errors of [`Transactions::transaction`].
    pub async fn transaction<T, B>(&self, name: &'static str, body: B) -> Result<Committed<T>, Error>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        self.unattended().transaction(name, body).await
    }

    /// Returns the number of sessions that the pool may have.
    pub fn pool_size(&self) -> usize {
        self.pool.status().max_size
    }

    /// Shows this database's pool in the metrics, for as long as the pool lasts.
    pub fn show_in_metrics(&self) {
        let (pool, room) = (self.pool.weak(), Arc::downgrade(&self.room));
        metrics::watch_pool(move || {
            let (status, room) = (pool.upgrade()?.status(), room.upgrade()?);
            let idle = status.available.min(status.size);
            Some(PoolFigures { used: status.size - idle, idle, max: status.max_size, pending: room.waiting() })
        });
    }

    /// Tells whether half of the sessions that the pool may have are in use. A pool of fewer than four never says so.
    pub fn is_crowded(&self) -> bool {
        self.room.is_crowded()
    }

    /// Runs statements that only read, without a transaction. Each sees what was committed when that statement began.
    ///
    /// # Errors
    /// The errors of [`Database::transaction`].
    pub async fn read<T, B>(&self, name: &'static str, body: B) -> Result<T, Error>
    where
        T: Send,
        B: for<'c> Body<'c, T>,
    {
        self.read_within(ATTEMPT_LIMIT, name, body).await
    }

    /// Runs statements as [`Database::read`] does, for long reads: one run may take as long as `limit`.
    ///
    /// # Errors
    /// The errors of [`Database::transaction`].
    pub async fn read_within<T, B>(&self, limit: Duration, name: &'static str, mut body: B) -> Result<T, Error>
    where
        T: Send,
        B: for<'c> Body<'c, T>,
    {
        let mut retries = Retries::new(name, false);
        loop {
            let attempt = retries.attempt();
            let ran = Ran::begin(name);
            let run = async {
                let mut lease = self.lease().await?;
                let value = within(limit, body(lease.connection()?, attempt)).await?;
                lease.give_back();
                Ok(value)
            };
            let failure: Failure = match spans::in_operation(name, run).await {
                Ok(value) => {
                    ran.end(None);
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            ran.end(Some(failure.name()));
            self.after(name, &failure);
            retries.wait_after(failure).await?;
        }
    }

    /// Drops the other sessions that the failure has spoiled, and logs and counts what a person should know.
    fn after(&self, transaction: &'static str, failure: &Failure) {
        match failure.kind {
            FailureKind::Away => {
                self.drop_idle_sessions();
                warn!(transaction, error = failure.text, "Database connection lost");
            }
            FailureKind::NoConnection => {
                warn!(transaction, error = failure.text, "Database connection can't be made");
            }
            FailureKind::Check | FailureKind::RowCount => {
                metrics::count_violation();
                error!(transaction, error = failure.text, "A last guard of the database refused a transaction");
            }
            FailureKind::TooLong => warn!(transaction, error = failure.text, "Transaction took too long"),
            FailureKind::Other | FailureKind::Denied | FailureKind::Wrong => {
                warn!(transaction, error = failure.text, "Database statement failed")
            }
            FailureKind::PoolBusy => metrics::count_pool_timeout(),
            FailureKind::Deadlock | FailureKind::LockWait | FailureKind::Duplicate => {}
        }
    }

    fn drop_idle_sessions(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Takes an idle session or makes one. Where the database has no room for another, waits for a session to come free.
    async fn lease(&self) -> Result<Lease, Failure> {
        let deadline = Instant::now() + POOL_WAIT_MAX;
        loop {
            let place = self.room.take(deadline).await?;
            let text = match self.pool.get().await {
                Ok(object) => return Ok(Lease { object: Some(object), _place: place }),
                Err(PoolError::Backend(NoSession::NoRoom(text))) => {
                    self.room.refused(place, deadline, &text).await?;
                    continue;
                }
                Err(PoolError::Backend(NoSession::NoConnection(text))) => text,
                Err(PoolError::Timeout(_) | PoolError::Closed | PoolError::NoRuntimeSpecified) => {
                    "the pool gave none".to_owned()
                }
                Err(PoolError::PostCreateHook(_)) => "the pool refused a new one".to_owned(),
            };
            return Err(Failure { kind: FailureKind::NoConnection, text: format!("no connection: {text}") });
        }
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

/// Holds a session that was taken out of the pool. It goes back only by [`Lease::give_back`]. A lease that is dropped
/// closes its connection, also in the middle of a transaction.
struct Lease {
    object: Option<Object<Sessions>>,
    /// It is dropped after the session, so that whoever gets the place next finds the session in the pool.
    _place: Place,
}

impl Lease {
    /// Ends a transaction that failed: by ROLLBACK, or by closing the connection, where the server rolls back.
    async fn end(self, failure: &Failure) {
        if failure.spares_connection() {
            self.roll_back().await;
        }
    }

    async fn roll_back(mut self) {
        let rollback = async { Ok(send(self.connection()?, "ROLLBACK").await?) };
        if within_limit(rollback).await.is_ok() {
            self.give_back();
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Failure> {
        Ok(&mut self.session()?.connection)
    }

    fn session(&mut self) -> Result<&mut Session, Failure> {
        let object = self.object.as_deref_mut();
        object.ok_or_else(|| Failure { kind: FailureKind::Other, text: "the session was given back".to_owned() })
    }

    fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

//! One transaction: its runs, and the end of those that failed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable},
};
use diesel_async::SimpleAsyncConnection;
use tokio::time::Instant;
use tracing::{Instrument, debug_span};

use super::{
    ANSWER_LIMIT, ATTEMPT_LIMIT, Body, Committed, Connection, Database, Failure, FailureKind, Plan, Script,
    retry::Retries,
    script::{AsksFor, Inserted},
    session,
    statement::Statement,
    until, within,
};
use crate::error::Error;

/// How long a run may look at its rows before its callers are asked once more whether they wait. A look takes
/// milliseconds, and less than this must not cost a batch of callers with short deadlines its end.
const LOOK_WITHOUT_ASKING_MAX: Duration = Duration::from_millis(500);

/// How long the session of a failed run may take to end, once it is told to. One that is in the middle of its commit
/// completes that first.
const SESSION_END_MAX: Duration = Duration::from_secs(1);
/// The pause before another look whether it has ended: it doubles from the first on.
const SESSION_END_PAUSE_FIRST: Duration = Duration::from_millis(1);

/// The way to transactions, for those who wait for them: [`Database::for_callers`].
#[derive(Clone, Copy)]
pub struct Transactions<'a> {
    pub(super) database: &'a Database,
    pub(super) wanted: &'a (dyn Fn() -> bool + Send + Sync),
    pub(super) outcome_unknown: Option<&'a AtomicBool>,
}

impl Transactions<'_> {
    /// Runs a transaction: `body`, then its plan with the COMMIT.
    ///
    /// # Errors
    /// `LockContention` after one wait for a lock or five deadlocks, `Unavailable` and `Overloaded` after the retries that
    /// [`super`] lists, `DeadlineExceeded` where somebody who waits has gone: what is left is to be run without him. `Internal` for
    /// anything else.
    pub async fn transaction<T, B>(self, name: &'static str, body: B) -> Result<Committed<T>, Error>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        self.transaction_at_once(None, name, body).await
    }

    /// As [`Transactions::transaction`], whose first run is the plan `first`, where there is one: without a look at
    /// anything, sent as one text. So its script has to fail where what it was planned on isn't so any more, by a row
    /// count or a unique key. Then nothing of it is done, and `body` runs as if for the first time.
    ///
    /// As such a run has no BEGIN of its own, a server that hangs is only noticed when its time as a whole is over.
    ///
    /// # Errors
    /// As [`Transactions::transaction`].
    pub async fn transaction_at_once<T, B>(
        self,
        mut first: Option<Plan<T>>,
        name: &'static str,
        mut body: B,
    ) -> Result<Committed<T>, Error>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        let mut retries =
            Retries::new(name, self.outcome_unknown.is_some_and(|unknown| unknown.load(Ordering::Relaxed)));
        let mut unended = None;
        loop {
            let span = debug_span!("transaction", name);
            let planned = first.take();
            let is_refutable = planned.is_some();
            let run = self.run(&mut unended, planned, retries.attempt(), &mut body);
            let failed = match run.instrument(span).await {
                Ok((value, Inserted { ids, moment })) => return Ok(Committed { value, ids, moment }),
                Err(failed) => failed,
            };
            let Failed { failure, is_open } = match failed {
                RunError::Unwanted => return Err(Error::DeadlineExceeded),
                RunError::Failed(failed) => failed,
            };
            if is_refutable && failure.refutes_plan() {
                continue;
            }
            self.database.after(name, &failure);
            if is_open {
                retries.remember_unknown_outcome();
                if let Some(unknown) = self.outcome_unknown {
                    unknown.store(true, Ordering::Relaxed);
                }
            }
            retries.wait_after(failure).await?;
        }
    }

    /// One run, after the end of the session of the run before it, where that is left.
    async fn run<T, B>(
        self,
        unended: &mut Option<String>,
        planned: Option<Plan<T>>,
        attempt: u32,
        body: &mut B,
    ) -> Result<(T, Inserted), RunError>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        let mut lease = self.database.lease().await?;
        if let Some(name) = unended {
            within(ANSWER_LIMIT, end_session(lease.connection()?, name)).await?;
            *unended = None;
        }
        // After all waits but those for locks.
        if !(self.wanted)() {
            lease.give_back();
            return Err(RunError::Unwanted);
        }
        let name = lease.session()?.name.clone();
        let result = match planned {
            Some(plan) => {
                self.commit(lease.connection()?, Instant::now() + ATTEMPT_LIMIT, plan, Script::into_transaction).await
            }
            None => self.look_and_commit(lease.connection()?, attempt, body).await,
        };
        match &result {
            Ok(_) => lease.give_back(),
            Err(RunError::Unwanted) => lease.roll_back().await,
            Err(RunError::Failed(Failed { failure, .. })) => {
                *unended = (!failure.spares_connection()).then_some(name);
                lease.end(failure).await;
            }
        }
        result
    }

    async fn look_and_commit<T, B>(
        self,
        conn: &mut Connection,
        attempt: u32,
        body: &mut B,
    ) -> Result<(T, Inserted), RunError>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        let began = Instant::now();
        within(ANSWER_LIMIT, async { Ok(conn.batch_execute("BEGIN").await?) }).await?;
        let deadline = Instant::now() + ATTEMPT_LIMIT;
        let plan = until(deadline, body(&mut *conn, attempt)).await?;
        // What it has locked stays as it is until the script arrives; before, somebody may have changed it.
        if began.elapsed() >= LOOK_WITHOUT_ASKING_MAX && !(self.wanted)() {
            return Err(RunError::Unwanted);
        }
        self.commit(conn, deadline, plan, Script::into_commit).await
    }

    /// Sends a plan's script as the text that `into_text` makes of it, and learns what it asks for.
    async fn commit<T>(
        self,
        conn: &mut Connection,
        deadline: Instant,
        Plan { script, value }: Plan<T>,
        into_text: fn(Script) -> QueryResult<String>,
    ) -> Result<(T, Inserted), RunError> {
        let (asks_for, writes) = (script.asks_for(), script.writes());
        let text = into_text(script).map_err(Failure::from)?;
        let committed = async { Ok(conn.batch_execute(&text).await?) };
        if let Err(failure) = until(deadline, committed).await {
            let is_open = failure.leaves_commit_open();
            return Err(RunError::Failed(Failed { failure, is_open }));
        }
        if writes {
            self.database.heartbeat.committed();
        }
        if asks_for == AsksFor::Nothing {
            return Ok((value, Inserted::default()));
        }
        match within(ANSWER_LIMIT, session::inserted(conn, asks_for)).await {
            Ok(inserted) => Ok((value, inserted)),
            // It has committed, and only a run that finds that knows the ids.
            Err(failure) => Err(RunError::Failed(Failed { failure, is_open: true })),
        }
    }
}

/// Why a run has no result.
enum RunError {
    /// Somebody who waits has gone.
    Unwanted,
    /// It failed.
    Failed(Failed),
}

/// A run that failed, and whether it may have committed all the same.
struct Failed {
    failure: Failure,
    is_open: bool,
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Failed { failure, is_open: false })
    }
}

/// Ends another session of this account, and returns when it is over: it has committed or rolled back, its locks are
/// free, and nothing that was sent to it can take effect any more.
async fn end_session(conn: &mut Connection, name: &str) -> Result<(), Failure> {
    let until = Instant::now() + SESSION_END_MAX;
    let mut pause = SESSION_END_PAUSE_FIRST;
    let mut killed = None;
    while let Some(id) = connection_of(&mut *conn, name).await? {
        if killed != Some(id) {
            // It fails where the session ends by itself in this moment, which the next look shows.
            let _ends_by_itself = conn.batch_execute(&format!("KILL {id}")).await.is_err();
            killed = Some(id);
        } else if Instant::now() >= until {
            let text = format!("the session of an earlier run has not ended in {} s", SESSION_END_MAX.as_secs());
            return Err(Failure { kind: FailureKind::Away, text });
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// The connection of the session that holds this name as a user lock.
async fn connection_of(conn: &mut Connection, name: &str) -> Result<Option<i64>, Failure> {
    #[derive(QueryableByName)]
    struct Holder {
        #[diesel(sql_type = Nullable<BigInt>)]
        id: Option<i64>,
    }
    let statement = Statement::new("SELECT CAST(IS_USED_LOCK(?) AS SIGNED) AS id").bytes(name.as_bytes());
    let rows: Vec<Holder> = statement.rows(conn).await?;
    Ok(rows.into_iter().next().and_then(|holder| holder.id))
}

//! One transaction: its runs, and how a failed run is ended.

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

use super::{
    ANSWER_LIMIT, ATTEMPT_LIMIT, Body, Committed, Connection, Database, Failure, FailureKind, Plan, Script,
    retry::Retries,
    script::{AsksFor, Inserted},
    send, session,
    statement::Statement,
    until, within,
};
use crate::{error::Error, metrics::Ran, spans};

/// Limits how long a run may read before its callers are asked again whether they wait.
///
/// A read takes milliseconds. Within this limit, a caller who goes at a short deadline doesn't end the run for the
/// whole batch.
const LOOK_WITHOUT_ASKING_MAX: Duration = Duration::from_millis(500);

/// Limits how long the session of a failed run may take to end, once it is told to.
///
/// A session in the middle of its commit completes the commit first.
const SESSION_END_MAX: Duration = Duration::from_secs(1);
/// Sets the first pause before another look whether the session has ended. Each pause is twice as long as the one
/// before.
const SESSION_END_PAUSE_FIRST: Duration = Duration::from_millis(1);

/// Runs transactions, for callers who wait ([`Database::for_callers`]) or for nobody ([`Database::unattended`]).
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
    /// `LockContention` after one wait for a lock, or after the deadlocks that [`super`] lists. `Unavailable` and
    /// `Overloaded` after the retries that [`super`] lists. `DeadlineExceeded` where a caller has gone: what is left is
    /// to be run without that caller. `Internal` for anything else.
    pub async fn transaction<T, B>(self, name: &'static str, body: B) -> Result<Committed<T>, Error>
    where
        T: Send,
        B: for<'c> Body<'c, Plan<T>>,
    {
        self.optimistic_transaction(None, name, body).await
    }

    /// Runs a transaction whose first run is the plan `first`, where there is one.
    ///
    /// That run is sent as one text, and reads nothing before. So where the rows are no longer as planned on, its
    /// script has to fail, by a row count or a unique key. Then nothing of it is done, and `body` runs as if for the
    /// first time.
    ///
    /// Such a run waits for no answer to BEGIN. So a server that hangs is noticed only when the time of the
    /// whole run is over.
    ///
    /// # Errors
    /// The errors of [`Transactions::transaction`].
    pub async fn optimistic_transaction<T, B>(
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
            let planned = first.take();
            let is_optimistic = planned.is_some();
            let run = self.run(&mut unended, planned, retries.attempt(), &mut body);
            let ran = Ran::begin(name);
            let failed = match spans::in_operation(name, run).await {
                Ok((value, Inserted { ids, script_time })) => {
                    ran.end(None);
                    return Ok(Committed { value, ids, script_time });
                }
                Err(failed) => failed,
            };
            let Failed { failure, is_open } = match failed {
                RunError::Unwanted => return Err(Error::DeadlineExceeded),
                RunError::Failed(failed) => failed,
            };
            ran.end(Some(failure.name()));
            if is_optimistic && failure.refutes_optimism() {
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

    /// Runs the transaction once. Before that, ends the session of the run before, where one is left.
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
        // The callers are asked here, because every wait but that for locks is over.
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
        within(ANSWER_LIMIT, async { Ok(send(conn, "BEGIN").await?) }).await?;
        let deadline = Instant::now() + ATTEMPT_LIMIT;
        let plan = until(deadline, body(&mut *conn, attempt)).await?;
        // While the body waited for locks, a caller may have gone, and another server may have changed what that caller
        // wanted. From here on the rows that the body has locked stay as they are until the script arrives.
        if began.elapsed() >= LOOK_WITHOUT_ASKING_MAX && !(self.wanted)() {
            return Err(RunError::Unwanted);
        }
        self.commit(conn, deadline, plan, Script::into_commit).await
    }

    /// Sends a plan's script as the text that `into_text` makes of it, and reads back what it asks for.
    async fn commit<T>(
        self,
        conn: &mut Connection,
        deadline: Instant,
        Plan { script, value }: Plan<T>,
        into_text: fn(Script) -> QueryResult<String>,
    ) -> Result<(T, Inserted), RunError> {
        let (asks_for, writes) = (script.asks_for(), script.writes());
        let text = into_text(script).map_err(Failure::from)?;
        let committed = async { Ok(send(conn, &text).await?) };
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
            // The script has committed, but the ids are unknown. Only another run can find what was made.
            Err(failure) => Err(RunError::Failed(Failed { failure, is_open: true })),
        }
    }
}

/// Says why a run has no result.
enum RunError {
    /// A caller has gone.
    Unwanted,
    /// The run failed.
    Failed(Failed),
}

/// Describes a run that failed, and whether it may have committed all the same.
struct Failed {
    failure: Failure,
    is_open: bool,
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        Self::Failed(Failed { failure, is_open: false })
    }
}

/// Ends another session of this account, and returns when that session is over.
///
/// Then that session has committed or rolled back, its locks are free, and nothing that was sent to it can take effect
/// any more.
async fn end_session(conn: &mut Connection, name: &str) -> Result<(), Failure> {
    let until = Instant::now() + SESSION_END_MAX;
    let mut pause = SESSION_END_PAUSE_FIRST;
    let mut killed = None;
    while let Some(id) = connection_of(&mut *conn, name).await? {
        if killed != Some(id) {
            // KILL fails where the session ends by itself at this moment, which the next look shows.
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

/// Returns the connection id of the session that has this name as a user lock.
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

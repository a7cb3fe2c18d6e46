//! Table `server_heartbeats`: a write that commits shows that the database takes writes.
//!
//! No setting shows a primary that is cut off from its group, a full disk, or a global read lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use diesel::{
    ExpressionMethods, QueryDsl, QueryableByName, dsl::DuplicatedKeys, mysql::Mysql, query_builder::QueryFragment,
    sql_types::Text,
};
use diesel_async::SimpleAsyncConnection;
use tokio::time::Instant;

use super::{
    Connection, Database, Failure, FailureKind,
    read::statement_time,
    render::with_literals,
    schema::{payment_exceptions, server_heartbeats},
    statement::Statement,
};

/// Counts the table's rows.
const SLOTS: u8 = 16;
/// Limits how long a write may take that waits at most a second for a lock.
const WRITE_MAX: Duration = Duration::from_secs(3);
/// Limits the age of a commit of this process that shows as much as a heartbeat.
const FRESH: Duration = Duration::from_secs(1);

/// Holds when a commit that wrote was last acknowledged, and the row of this process's heartbeats.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    slot: u8,
    began: Instant,
    /// Milliseconds since `began`, plus 1. It is 0 where no commit was acknowledged yet.
    last_commit: Arc<AtomicU64>,
}

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self { slot: rand::random::<u8>() % SLOTS, began: Instant::now(), last_commit: Arc::default() }
    }

    /// Records that a commit that wrote was acknowledged.
    pub(super) fn committed(&self) {
        self.last_commit.store(self.now() + 1, Ordering::Relaxed);
    }

    fn has_fresh_commit(&self) -> bool {
        let last = self.last_commit.load(Ordering::Relaxed);
        last > 0 && Duration::from_millis((self.now() + 1).saturating_sub(last)) < FRESH
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl Database {
    /// Makes sure that the database takes writes.
    ///
    /// A commit of this process in the last second shows it. Where there is none, a heartbeat is written.
    ///
    /// A row or a table that somebody has locked doesn't mean that the database refuses writes.
    ///
    /// # Errors
    /// The failure of a write, which was tried twice where a connection was at fault. `LockWait` means that everything
    /// is locked. `TooLong` means that a write gets no answer.
    pub async fn takes_writes(&self) -> Result<(), Failure> {
        if self.heartbeat.has_fresh_commit() {
            return Ok(());
        }
        let mut written = self.beat().await;
        if written.as_ref().is_err_and(|failure| failure.kind == FailureKind::Away) {
            written = self.beat().await;
        }
        if written.as_ref().is_err_and(|failure| failure.kind == FailureKind::LockWait) {
            // This statement matches no row. So it waits only where its table or all tables are locked.
            let none = payment_exceptions::table.find(0);
            let nothing = diesel::update(none).set(payment_exceptions::accepted.eq(payment_exceptions::accepted));
            written = self.write_alone(nothing).await;
        }
        written
    }

    async fn beat(&self) -> Result<(), Failure> {
        let first = (
            server_heartbeats::slot.eq(self.heartbeat.slot),
            server_heartbeats::beats.eq(1),
            server_heartbeats::last_beat_at.eq(statement_time()),
        );
        let next = (
            server_heartbeats::beats.eq(server_heartbeats::beats + 1),
            server_heartbeats::last_beat_at.eq(statement_time()),
        );
        let insert = diesel::insert_into(server_heartbeats::table).values(first);
        self.write_alone(insert.on_conflict(DuplicatedKeys).do_update().set(next)).await
    }

    /// Tells whether the database has `super_read_only` set, as a secondary has.
    ///
    /// A failed write doesn't tell, because an account without further rights is told `--read-only` in either case. The
    /// answer is false where the setting can't be read, and on MariaDB, which has no such setting.
    pub async fn is_super_read_only(&self) -> bool {
        #[derive(QueryableByName)]
        struct Variable {
            #[diesel(sql_type = Text, column_name = "Value")]
            value: String,
        }
        let read = self.read("super_read_only", async |conn: &mut Connection, _attempt| {
            let rows: Vec<Variable> = Statement::new("SHOW GLOBAL VARIABLES LIKE 'super_read_only'").rows(conn).await?;
            Ok(rows.first().is_some_and(|row| row.value == "ON"))
        });
        read.await.unwrap_or(false)
    }

    /// Runs one statement that is a transaction by itself.
    async fn write_alone(&self, statement: impl QueryFragment<Mysql>) -> Result<(), Failure> {
        let text = with_literals(&statement)?;
        drop(statement);
        let mut lease = self.lease().await?;
        let writing = async { Ok(lease.connection()?.batch_execute(&text).await?) };
        let written = tokio::time::timeout(WRITE_MAX, writing).await.unwrap_or_else(|_elapsed| {
            Err(Failure { kind: FailureKind::TooLong, text: format!("no answer in {} s", WRITE_MAX.as_secs()) })
        });
        match &written {
            Ok(()) => lease.give_back(),
            Err(failure) => {
                lease.end(failure).await;
                // What has happened to this session may have happened to the idle sessions as well.
                if failure.kind == FailureKind::Away {
                    self.drop_idle_sessions();
                }
            }
        }
        written
    }
}

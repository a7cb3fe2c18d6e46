//! Locks by name: one process at a time migrates, or sweeps.
//!
//! A lock belongs to a connection of its own and ends with it. A process that dies loses its lock at once. A process
//! that is frozen, or whose machine or network is gone, loses its lock when the connection has been idle for a minute.
//! So a process that has a lock works on the lock's own connection, or runs a statement there now and then.

use std::time::Duration;

use diesel::{
    QueryableByName,
    mysql::Mysql,
    query_builder::{QueryFragment, QueryId},
    sql_types::{BigInt, Nullable},
};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::{ATTEMPT_LIMIT, Connection, Failure, FailureKind, session, statement::Statement, within, within_limit};
use crate::{config::DatabaseConfig, error::Error};

/// Limits how long the connection of a lock may be idle before the database ends it. A process that works is idle for
/// seconds only.
const IDLE_SECONDS_MAX: u32 = 60;

/// Holds the SQL of a lock's name. Its value is the caller's part of the name.
///
/// A lock belongs to the server, not to one database. So the name has the database in it, within the 64 characters that
/// a name may have. MySQL 9 has no MD5.
const NAME: &str = "CONCAT('flashsale_', ?, ':', LEFT(SHA2(DATABASE(), 256), 32))";

/// Holds a lock of the database server, on its own connection. The lock ends with the connection.
pub struct NamedLock {
    connection: Connection,
}

/// Tells who has a lock that could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The id of the holder's connection at the database, for KILL. `None` means that the holder has let go meanwhile.
    pub connection_id: Option<i64>,
}

impl std::fmt::Debug for NamedLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamedLock")
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

impl NamedLock {
    /// Takes the lock, waiting up to `wait_seconds` for another process to let go, or tells who has it.
    ///
    /// # Errors
    /// `Unavailable` where the database can't be reached or doesn't answer.
    pub async fn take(config: &DatabaseConfig, name: &str, wait_seconds: i64) -> Result<Result<Self, Holder>, Error> {
        let mut connection = session::connect(config).await?;
        // The server answers when the wait is over, at the latest. A broken network never answers.
        let limit = Duration::from_secs(wait_seconds.unsigned_abs()) + ATTEMPT_LIMIT;
        let taking = async {
            let set = format!("SET SESSION wait_timeout = {IDLE_SECONDS_MAX}");
            connection.batch_execute(&set).await?;
            let get = Statement::new(&format!("SELECT CAST(GET_LOCK({NAME}, ?) AS SIGNED) AS number"));
            if number(&mut connection, get.bytes(name.as_bytes()).integer(wait_seconds)).await? == Some(1) {
                return Ok(None);
            }
            let holder = Statement::new(&format!("SELECT CAST(IS_USED_LOCK({NAME}) AS SIGNED) AS number"));
            let connection_id = number(&mut connection, holder.bytes(name.as_bytes())).await?;
            Ok(Some(Holder { connection_id }))
        };
        let holder = within(limit, taking).await.map_err(|failure| Error::Unavailable(failure.text))?;
        Ok(holder.map_or(Ok(Self { connection }), Err))
    }

    /// Runs a statement on the lock's connection, which keeps the lock.
    ///
    /// A row that somebody else has locked stays as it is, because it says nothing about this lock.
    ///
    /// # Errors
    /// `Unavailable` where the connection has ended, and with it the lock.
    pub(super) async fn execute(&mut self, statement: impl QueryFragment<Mysql> + QueryId + Send) -> Result<(), Error> {
        let executed = async { Ok(statement.execute(&mut self.connection).await?) };
        match within_limit(executed).await {
            Ok(_rows) => Ok(()),
            Err(Failure { kind: FailureKind::LockWait | FailureKind::Deadlock, .. }) => Ok(()),
            Err(Failure { text, .. }) => Err(Error::Unavailable(format!("the lock is lost: {text}"))),
        }
    }

    /// Hands out the connection, for work that is to end with the lock.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Releases the lock. A drop does so as well, but only once the server notices that the connection is gone. Until
    /// then another process would be told that this process is at work.
    pub async fn release(mut self) {
        let release = async { Ok(self.connection.batch_execute("DO RELEASE_ALL_LOCKS()").await?) };
        // Where it fails, the connection is broken, and the lock ends with the connection.
        let _broken = within_limit(release).await;
    }
}

async fn number(connection: &mut Connection, statement: Statement) -> Result<Option<i64>, Failure> {
    let rows: Vec<Number> = statement.rows(connection).await?;
    Ok(rows.into_iter().next().and_then(|row| row.number))
}

//! Locks by name: one process at a time migrates, or sweeps.

use std::time::Duration;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable},
};
use diesel_async::SimpleAsyncConnection;

use super::{ATTEMPT_LIMIT, Connection, session, statement::Statement, within, within_limit};
use crate::{config::DatabaseConfig, error::Error};

/// A lock of the database server on a connection of its own, with which it ends: a process that dies lets go.
pub struct NamedLock {
    connection: Connection,
}

impl std::fmt::Debug for NamedLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamedLock")
    }
}

impl NamedLock {
    /// Takes the lock, waiting up to `wait_seconds` for another process to let go. `None`: it didn't.
    ///
    /// # Errors
    /// `Unavailable` where the database can't be reached or says nothing.
    pub async fn take(config: &DatabaseConfig, name: &str, wait_seconds: i64) -> Result<Option<Self>, Error> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Nullable<BigInt>)]
            got: Option<i64>,
        }
        let mut connection = session::connect(config).await?;
        // Locks are the server's, not the database's: so the name has the database in it, within the 64 characters
        // that a name may have. MySQL 9 has no MD5.
        let select = "SELECT CAST(GET_LOCK(CONCAT('flashsale_', ?, ':', LEFT(SHA2(DATABASE(), 256), 32)), ?) \
            AS SIGNED) AS got";
        let statement = Statement::new(select).bytes(name.as_bytes()).integer(wait_seconds);
        // The server answers when the wait is over, at the latest; a network that says nothing never does.
        let limit = Duration::from_secs(wait_seconds.unsigned_abs()) + ATTEMPT_LIMIT;
        let rows: Vec<Row> = within(limit, async { Ok(statement.rows(&mut connection).await?) })
            .await
            .map_err(|failure| Error::Unavailable(failure.text))?;
        let got = rows.first().and_then(|row| row.got) == Some(1);
        Ok(got.then_some(Self { connection }))
    }

    /// Lets go. Dropping does so too, but only once the server has noticed that the connection is gone, and until then
    /// another process would be told that this one is at work.
    pub async fn release(mut self) {
        let release = async { Ok(self.connection.batch_execute("DO RELEASE_ALL_LOCKS()").await?) };
        // Where that fails the connection is broken, and the lock ends with it.
        let _broken = within_limit(release).await;
    }
}

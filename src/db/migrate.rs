//! Migrations: `server migrate` runs them, and every server checks them before it serves.
//!
//! Each migration may run twice: the database commits DDL as it goes, and a migration that was cut off runs again.
//!
//! Only one process migrates at a time. Another process waits for it, and then finds nothing to do. A process migrates
//! on the connection that has the lock. So the lock lasts as long as a statement takes, even for hours. A frozen
//! process keeps the lock for at most a minute after its statement.

use std::collections::BTreeSet;

use diesel::{
    QueryableByName,
    migration::{Migration, MigrationSource},
    mysql::Mysql,
    sql_types::Text,
};
use diesel_async::AsyncMigrationHarness;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Connection, Database, Failure, named_lock::NamedLock, statement::Statement};
use crate::{config::DatabaseConfig, error::Error};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Limits how long a process waits for another process that migrates, in seconds.
const LOCK_WAIT_SECONDS_MAX: i64 = 300;

fn embedded() -> Result<Vec<Box<dyn Migration<Mysql>>>, Error> {
    MIGRATIONS.migrations().map_err(|error| Error::Internal(error.to_string()))
}

/// Brings the database's tables up to date. Returns the names of the migrations that ran, or none if all had run.
///
/// It needs a multi-threaded runtime.
///
/// # Errors
/// `Unavailable` where the database can't be reached or another process migrates for too long, `Internal` where a
/// migration fails.
pub async fn migrate(config: &DatabaseConfig) -> Result<Vec<String>, Error> {
    let lock = NamedLock::take(config, "migrate", LOCK_WAIT_SECONDS_MAX).await?.map_err(|holder| {
        let connection = holder.connection_id.map(|id| format!(", on database connection {id}")).unwrap_or_default();
        Error::Unavailable(format!(
            "another process has been migrating this database for {LOCK_WAIT_SECONDS_MAX} s{connection}"
        ))
    })?;
    let mut harness = AsyncMigrationHarness::new(lock.into_connection());
    let ran = harness.run_pending_migrations(MIGRATIONS).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(ran.iter().map(ToString::to_string).collect())
}

/// Returns the names of the migrations that the database lacks, or none if it is up to date.
///
/// The database may have migrations that this program doesn't know. A newer server made them, and each of them leaves
/// an older server working.
///
/// # Errors
/// The errors of [`Database::read`].
pub async fn missing(database: &Database) -> Result<Vec<String>, Error> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let done: BTreeSet<String> = database
        .read("schema_version", async |conn: &mut Connection, _attempt| {
            let select = "SELECT version FROM __diesel_schema_migrations";
            let rows: Result<Vec<Version>, Failure> = Statement::new(select).rows(conn).await.map_err(Failure::from);
            match rows {
                Ok(rows) => Ok(rows.into_iter().map(|row| row.version).collect()),
                Err(failure) if failure.text.contains("doesn't exist") => Ok(BTreeSet::new()),
                Err(failure) => Err(failure),
            }
        })
        .await?;
    let missing = embedded()?
        .iter()
        .map(|migration| (migration.name().version().to_string(), migration.name().to_string()))
        .filter(|(version, _)| !done.contains(version))
        .map(|(_, name)| name)
        .collect();
    Ok(missing)
}

//! Migrations: run by `server migrate`, and checked by every server before it serves.
//!
//! Each migration may run twice, since the database commits DDL as it goes and a migration cut off half-way runs again.
//! Only one process migrates at a time; another waits for it, and then finds nothing to do. It migrates on the connection
//! that has the lock: so the lock lasts as long as a statement takes, be it hours, and a frozen process keeps it no longer
//! than a minute beyond.

use std::collections::BTreeSet;

use diesel::{
    QueryableByName,
    migration::{Migration, MigrationSource},
    mysql::Mysql,
    sql_types::{BigInt, Text},
};
use diesel_async::AsyncMigrationHarness;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Connection, Database, named_lock::NamedLock, statement::Statement};
use crate::{config::DatabaseConfig, error::Error};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// How long a migration waits for another process's, in seconds.
const LOCK_WAIT_SECONDS_MAX: i64 = 300;

fn embedded() -> Result<Vec<Box<dyn Migration<Mysql>>>, Error> {
    MIGRATIONS.migrations().map_err(|error| Error::Internal(error.to_string()))
}

/// Brings the database's tables up to date. Returns the names of the migrations that ran, none if all had.
///
/// Needs a multi-threaded runtime.
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

/// The migrations that the database lacks, none if it is up to date. Migrations that it has beyond this program's are
/// fine: a newer server made them, and each leaves the older one working.
///
/// # Errors
/// As [`Database::read`].
pub async fn missing(database: &Database) -> Result<Vec<String>, Error> {
    #[derive(QueryableByName)]
    struct Tables {
        #[diesel(sql_type = BigInt)]
        tables: i64,
    }
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let done: BTreeSet<String> = database
        .read("schema_version", async |conn: &mut Connection, _attempt| {
            let exists = "SELECT COUNT(*) AS tables FROM information_schema.tables \
                WHERE table_schema = DATABASE() AND table_name = '__diesel_schema_migrations'";
            let tables: Vec<Tables> = Statement::new(exists).rows(&mut *conn).await?;
            if tables.first().is_none_or(|row| row.tables == 0) {
                return Ok(BTreeSet::new());
            }
            let select = "SELECT version FROM __diesel_schema_migrations";
            let rows: Vec<Version> = Statement::new(select).rows(conn).await?;
            Ok(rows.into_iter().map(|row| row.version).collect())
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

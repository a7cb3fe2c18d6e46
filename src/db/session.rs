//! The pool and the settings of each session.

use std::time::Duration;

use deadpool::Runtime;
use diesel::{ConnectionError, QueryableByName, sql_types::BigInt};
use diesel_async::{
    AsyncConnection, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        deadpool::{BuildError, Pool},
    },
};
use secrecy::ExposeSecret;

use super::{Connection, Failure, InsertedIds, statement::Statement};
use crate::config::DatabaseConfig;

/// How long a transaction waits for a connection of the pool before its callers are told to come back.
const POOL_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// READ COMMITTED, since gap locks deadlock sweeps with inserts. Short lock waits, since a caller waits too. English
/// texts, since errors are told apart by them. Strict mode, since a value that doesn't fit is a bug and not to be
/// trimmed. UTC, since only the database's clock decides.
const SETTINGS: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;\
    SET SESSION innodb_lock_wait_timeout = 3, lc_messages = 'en_US', time_zone = '+00:00', autocommit = 1,\
    sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

/// A connection of its own with the settings of a session.
pub(super) async fn connect(url: &str) -> Result<Connection, ConnectionError> {
    let connecting = async {
        let mut conn = Connection::establish(url).await?;
        conn.batch_execute(SETTINGS).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    };
    tokio::time::timeout(CONNECT_MAX, connecting)
        .await
        .unwrap_or_else(|_| Err(ConnectionError::BadConnection("connecting took too long".to_owned())))
}

/// Connections aren't tested when they are taken out, which would cost each batch a round trip: a dead one shows at its
/// first statement, and then the transaction drops them all and runs again.
pub(super) fn pool(config: &DatabaseConfig) -> Result<Pool<Connection>, BuildError> {
    let mut manager = ManagerConfig::default();
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(|url| {
        let url = url.to_owned();
        Box::pin(async move { connect(&url).await })
    });
    Pool::builder(AsyncDieselConnectionManager::new_with_config(config.url.expose_secret(), manager))
        .max_size(config.pool_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(POOL_WAIT_MAX))
        .create_timeout(Some(CONNECT_MAX))
        .recycle_timeout(Some(CONNECT_MAX))
        .build()
}

/// The ids of the session's last INSERT. They are consecutive on both engines, in steps of the increment.
pub(super) async fn inserted_ids(conn: &mut Connection) -> Result<InsertedIds, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        first: i64,
        #[diesel(sql_type = BigInt)]
        step: i64,
    }
    let select = "SELECT CAST(LAST_INSERT_ID() AS SIGNED) AS first, \
        CAST(@@session.auto_increment_increment AS SIGNED) AS step";
    let rows: Vec<Row> = Statement::new(select).rows(conn).await?;
    Ok(rows.first().map_or_else(InsertedIds::default, |row| InsertedIds { first: row.first, step: row.step }))
}

//! The pool and the settings of each session.

use std::time::Duration;

use chrono::NaiveDateTime;
use deadpool::{Runtime, managed::Metrics};
use diesel::{
    ConnectionError, QueryableByName,
    sql_types::{BigInt, Nullable, Timestamp},
};
use diesel_async::{
    AsyncConnection, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        deadpool::{BuildError, Hook, HookError, Pool},
    },
};
use mysql_async::UrlError;
use secrecy::ExposeSecret;

use super::{
    Connection, Failure, FailureKind,
    statement::{AsksFor, Inserted, InsertedIds, Statement, moment},
};
use crate::config::DatabaseConfig;

/// How long a transaction waits for a connection of the pool before its callers are told to come back.
const POOL_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A connection that nobody used for longer is closed rather than handed out: well before [`POOL_SETTINGS`] end its
/// session, so that no transaction finds it gone at its first statement.
const UNUSED_MAX: Duration = Duration::from_secs(20);

/// READ COMMITTED, since gap locks deadlock sweeps with inserts. Short lock waits, since a caller waits too. English
/// texts, since errors are told apart by them. Strict mode, since a value that doesn't fit is a bug and not to be
/// trimmed. UTC, since only the database's clock decides.
const SETTINGS: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;\
    SET SESSION innodb_lock_wait_timeout = 3, lc_messages = 'en_US', time_zone = '+00:00', autocommit = 1,\
    sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

/// What else a session of the pool has. Should this machine or its network vanish in the middle of a transaction, the
/// database hears nothing of it and keeps the session, and with it a locked product, until it has been idle for so
/// long: 8 hours by default. A living transaction is never idle for more than the 10 s that one run may take.
const POOL_SETTINGS: &str = "SET SESSION wait_timeout = 30";

/// A connection of its own with the settings of a session. It may be idle for as long as the database has it.
pub(super) async fn connect(url: &str) -> Result<Connection, ConnectionError> {
    connect_with(url, SETTINGS).await
}

async fn connect_with(url: &str, settings: &str) -> Result<Connection, ConnectionError> {
    let connecting = async {
        let mut conn = Connection::establish(url).await?;
        conn.batch_execute(settings).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
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
        Box::pin(async move { connect_with(&url, &format!("{SETTINGS};{POOL_SETTINGS}")).await })
    });
    Pool::builder(AsyncDieselConnectionManager::new_with_config(config.url.expose_secret(), manager))
        .max_size(config.pool_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(POOL_WAIT_MAX))
        .create_timeout(Some(CONNECT_MAX))
        .recycle_timeout(Some(CONNECT_MAX))
        .pre_recycle(Hook::sync_fn(|_conn, metrics| refuse_unused(metrics)))
        .build()
}

/// Whether the driver takes the URL with all its parameters, such as `require_ssl=true`: what it doesn't know it refuses
/// only when it connects.
///
/// # Errors
/// What is wrong, for whoever set the URL. It has none of the URL's text but a parameter's name.
pub fn check_url(url: &str) -> Result<(), String> {
    let named = |param: &str| {
        let is_name = param.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        // What can't be a name may be part of a password.
        if is_name { format!("parameter '{param}'") } else { "parameter".to_owned() }
    };
    let Err(error) = mysql_async::Opts::from_url(url) else { return Ok(()) };
    Err(match error {
        UrlError::UnknownParameter { param } => format!("has a {} that is not known", named(&param)),
        UrlError::InvalidParamValue { param, .. } => format!("has a {} with a value it can't have", named(&param)),
        UrlError::FeatureRequired { param, .. } => {
            format!("has a {} that this program is built without", named(&param))
        }
        UrlError::InvalidPoolConstraints { .. } => "has a pool_min that is more than its pool_max".to_owned(),
        UrlError::Invalid | UrlError::Parse(_) | UrlError::UnsupportedScheme { .. } => {
            "is not a URL of a MySQL database".to_owned()
        }
    })
}

/// `last_used` is when the connection was handed out last, or made: never later than its last statement.
fn refuse_unused(metrics: &Metrics) -> Result<(), HookError> {
    if metrics.last_used() > UNUSED_MAX { Err(HookError::message("unused for too long")) } else { Ok(()) }
}

/// What a script of this session that has just committed asks for. The ids of an INSERT of known rows are consecutive on
/// both engines, in steps of the increment.
pub(super) async fn inserted(conn: &mut Connection, asks_for: AsksFor) -> Result<Inserted, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        first: i64,
        #[diesel(sql_type = BigInt)]
        step: i64,
        #[diesel(sql_type = Nullable<Timestamp>)]
        moment: Option<NaiveDateTime>,
    }
    let moment_column = match asks_for {
        AsksFor::Nothing => return Ok(Inserted::default()),
        AsksFor::Ids => "NULL",
        AsksFor::IdsAndMoment => "@moment",
    };
    let select = format!(
        "SELECT CAST(LAST_INSERT_ID() AS SIGNED) AS first, CAST(@@session.auto_increment_increment AS SIGNED) AS step, \
        CAST({moment_column} AS DATETIME(6)) AS moment"
    );
    let rows: Vec<Row> = Statement::new(&select).rows(conn).await?;
    match rows.into_iter().next() {
        Some(Row { first, step, moment: at }) if at.is_some() == (asks_for == AsksFor::IdsAndMoment) => {
            Ok(Inserted { ids: InsertedIds { first, step }, moment: at.map(moment) })
        }
        // As after a lost answer, another run looks what was made.
        _ => Err(Failure { kind: FailureKind::Other, text: "the session didn't say what it inserted".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_connection_that_nobody_used_for_a_while_is_not_handed_out() {
        let long_ago = Instant::now().checked_sub(UNUSED_MAX * 2).unwrap();
        let metrics = |created, recycled| Metrics { created, recycled, recycle_count: 0 };
        assert!(refuse_unused(&metrics(Instant::now(), None)).is_ok());
        assert!(refuse_unused(&metrics(long_ago, Some(Instant::now()))).is_ok());
        assert!(refuse_unused(&metrics(long_ago, None)).is_err());
        assert!(refuse_unused(&metrics(long_ago, Some(long_ago))).is_err());
    }
}

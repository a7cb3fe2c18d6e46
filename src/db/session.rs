//! How sessions are made: what they connect to, their settings, and their pool.

pub(super) mod room;
mod settings;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::NaiveDateTime;
use deadpool::managed::{self, BuildError, Metrics, RecycleError, RecycleResult};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Datetime, Nullable},
};
use diesel_async::SimpleAsyncConnection;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, UrlError};
use rand::RngExt;
use secrecy::ExposeSecret;
use tracing::info;
use url::Url;

use settings::{pool_settings, settings};

use super::{
    Connection, Failure, FailureKind,
    denied::missing_right,
    script::{AsksFor, Inserted, InsertedIds, SCRIPT_TIME},
    statement::{Statement, system_time},
};
use crate::{
    config::{DatabaseConfig, DatabaseTls},
    error::Error,
    reload::Current,
    spans::{self, database::Target},
};

/// Limits how long a transaction waits for a connection of the pool. After that its callers are told to come back.
pub(super) const POOL_WAIT_MAX: Duration = Duration::from_secs(3);
/// Limits how long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Limits how long a connection may be unused. After that it is closed rather than handed out.
///
/// It is well below [`settings::SILENCE_SECONDS_MAX`], after which the database ends the session. So no transaction
/// finds its session gone at its first statement.
const UNUSED_MAX: Duration = Duration::from_secs(4);

/// Holds a session of the pool, and the name of its user lock. The session has the lock for its whole life.
///
/// Another session uses the name to find out whether this session is over: `IS_USED_LOCK` returns the connection id for
/// KILL, or NULL. The id alone would not do, because after a restart of the database another session has it.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) name: String,
    /// Which change of the login it was made after.
    login_version: u64,
}

/// Gives out sessions, and makes them as they are needed.
pub(super) type Pool = managed::Pool<Sessions>;

/// Makes the pool's sessions.
pub(super) struct Sessions {
    /// What the URL says.
    url: Opts,
    tls: Current<DatabaseTls>,
    login: Mutex<Login>,
}

/// Holds what sessions are made with, until the files of TLS hold something else.
#[derive(Clone)]
struct Login {
    opts: Opts,
    tls: Arc<DatabaseTls>,
    /// Counts the changes.
    version: u64,
}

impl Sessions {
    fn new(url: Opts, tls: Current<DatabaseTls>) -> Self {
        let first = tls.get();
        let login = Login { opts: secured(&url, &first), tls: first, version: 0 };
        Self { url, tls, login: Mutex::new(login) }
    }

    /// Returns what a session is made with now.
    fn login(&self) -> Login {
        let tls = self.tls.get();
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&tls, &login.tls) {
            if *tls != *login.tls {
                info!("Connections to the database are made anew, with other certificates");
                login.opts = secured(&self.url, &tls);
                login.version += 1;
            }
            login.tls = tls;
        }
        login.clone()
    }
}

impl managed::Manager for Sessions {
    type Type = Session;
    type Error = NoSession;

    async fn create(&self) -> Result<Session, NoSession> {
        let name = format!("flashsale_session_{:032x}", rand::rng().random::<u128>());
        let login = self.login();
        let connection = connect_with(&login.opts, &pool_settings(&name)).await?;
        Ok(Session { connection, name, login_version: login.version })
    }

    /// Refuses a connection that nobody used for a while, or that was made with other certificates. Tests none.
    ///
    /// A test would cost each batch a round trip. A dead connection shows at its first statement. Then the transaction
    /// drops all idle connections and runs again.
    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<NoSession> {
        if session.login_version != self.login().version {
            return Err(RecycleError::message("made with other certificates"));
        }
        refuse_unused(metrics)
    }
}

/// Says why no session could be made, with the database's or the driver's text.
#[derive(Debug)]
pub(super) enum NoSession {
    /// The database, or the account, has as many connections as it may.
    NoRoom(String),
    /// Any other reason.
    NoConnection(String),
}

impl From<mysql_async::Error> for NoSession {
    fn from(error: mysql_async::Error) -> Self {
        /// Lists errors: too many connections, too many of this account, and a resource of this account used up.
        const NO_ROOM: [u16; 3] = [1040, 1203, 1226];
        match &error {
            mysql_async::Error::Server(server) if NO_ROOM.contains(&server.code) => Self::NoRoom(error.to_string()),
            _ => {
                let text = error.to_string();
                Self::NoConnection(missing_right(&text).unwrap_or(text))
            }
        }
    }
}

impl From<NoSession> for Error {
    fn from((NoSession::NoRoom(text) | NoSession::NoConnection(text)): NoSession) -> Self {
        Self::Unavailable(format!("no connection: {text}"))
    }
}

/// Makes a connection outside the pool, with the settings of a session. It may be idle for as long as the database
/// allows.
///
/// # Errors
/// `Unavailable` where no connection can be made.
pub(super) async fn connect(config: &DatabaseConfig) -> Result<Connection, Error> {
    let url = opts(config.url.expose_secret()).map_err(mysql_async::Error::from).map_err(NoSession::from)?;
    let opts = secured(&url, &config.tls.get());
    Ok(connect_with(&opts, &settings()).await?)
}

async fn connect_with(opts: &Opts, settings: &str) -> Result<Connection, NoSession> {
    let connecting = async {
        let driver = Conn::new(opts.clone()).await?;
        let unset = |error: &dyn ToString| NoSession::NoConnection(error.to_string());
        let mut conn = Connection::try_from(driver).await.map_err(|error| unset(&error))?;
        conn.batch_execute(settings).await.map_err(|error| unset(&error))?;
        Ok(conn)
    };
    let late = |_elapsed| Err(NoSession::NoConnection("connecting took too long".to_owned()));
    tokio::time::timeout(CONNECT_MAX, connecting).await.unwrap_or_else(late)
}

/// Returns what the driver connects to: the URL's host and port, or the socket that the URL names.
///
/// The driver's default is to ask the database server for `@@socket`, and to connect to that path on this machine.
/// Where the database server is on another machine, this machine's own database may be listening at that path.
fn opts(url: &str) -> Result<Opts, UrlError> {
    let opts = Opts::from_url(url)?;
    // The driver would look up, and demand in a certificate, an IPv6 address with the brackets that it has in a URL.
    let host = opts.ip_or_hostname().trim_matches(['[', ']']).to_owned();
    let opts = OptsBuilder::from_opts(opts).ip_or_hostname(host).prefer_socket(false);
    // diesel has its own cache of statements, and expects an UPDATE to count the rows that it matches.
    Ok(opts.stmt_cache_size(0).client_found_rows(true).into())
}

/// Adds the files of TLS to what the URL says of it. The driver refuses a server without TLS wherever it is asked for.
fn secured(url: &Opts, tls: &DatabaseTls) -> Opts {
    let ssl = match (&tls.authorities, url.ssl_opts().cloned()) {
        (Some(pem), ssl) => {
            let ssl = ssl.unwrap_or_default().with_root_certs(vec![pem.clone().into()]);
            // Nobody else may vouch for the database, and nothing passes unseen.
            ssl.with_disable_built_in_roots(true).with_danger_accept_invalid_certs(false)
        }
        (None, Some(ssl)) => ssl,
        (None, None) => return url.clone(),
    };
    let identity = tls.identity.as_ref().map(|identity| {
        ClientIdentity::new(identity.chain_pem.clone().into(), identity.key_pem.expose_secret().to_vec().into())
    });
    OptsBuilder::from_opts(url.clone()).ssl_opts(ssl.with_client_identity(identity)).into()
}

/// Makes the pool. The pool itself has no time limits: [`room::Room`] limits the wait, and [`Sessions`] the connecting.
///
/// # Errors
/// What is wrong with the URL, or with the build.
pub(super) fn pool(config: &DatabaseConfig) -> Result<Pool, String> {
    let opts = opts(config.url.expose_secret()).map_err(|error| error.to_string())?;
    spans::database::works_on(Target {
        namespace: opts.db_name().unwrap_or_default().to_owned(),
        host: opts.ip_or_hostname().to_owned(),
        port: opts.tcp_port(),
    });
    let pool = Pool::builder(Sessions::new(opts, config.tls.clone())).max_size(config.pool_size).build();
    pool.map_err(|error: BuildError| error.to_string())
}

/// Checks that the driver takes the URL with all its parameters, such as `require_ssl=true`. The driver itself refuses
/// an unknown parameter only when it connects.
///
/// # Errors
/// What is wrong, for the person who set the URL. The text repeats nothing of the URL but a parameter's name.
pub fn check_url(url: &str) -> Result<(), String> {
    let named = |param: &str| {
        let is_name = param.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        // A text that can't be a name may be part of a password.
        if is_name { format!("parameter '{param}'") } else { "parameter".to_owned() }
    };
    let error = match Opts::from_url(url) {
        Ok(opts) if opts.prefer_socket() && names_prefer_socket(url) => {
            return Err("has a parameter 'prefer_socket' that may lead to another database: name the socket by \
                'socket'"
                .to_owned());
        }
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
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

/// Returns the name of the database in a URL, or `None` where the URL has none.
pub fn database_of(url: &str) -> Option<String> {
    Opts::from_url(url).ok()?.db_name().map(str::to_owned)
}

fn names_prefer_socket(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.query_pairs().any(|(name, _)| name == "prefer_socket"))
}

/// Refuses a connection that nobody used for longer than [`UNUSED_MAX`].
///
/// `last_used` counts from when the connection was handed out last, or made. That is never later than its last
/// statement.
fn refuse_unused(metrics: &Metrics) -> RecycleResult<NoSession> {
    if metrics.last_used() > UNUSED_MAX { Err(RecycleError::message("unused for too long")) } else { Ok(()) }
}

/// Reads back what a script of this session that has just committed asks for.
///
/// The ids of an INSERT of a known number of rows are consecutive on both engines, in steps of the increment.
pub(super) async fn inserted(conn: &mut Connection, asks_for: AsksFor) -> Result<Inserted, Failure> {
    #[derive(QueryableByName)]
    struct InsertedRow {
        #[diesel(sql_type = BigInt)]
        first: i64,
        #[diesel(sql_type = BigInt)]
        step: i64,
        #[diesel(sql_type = Nullable<Datetime>)]
        script_time: Option<NaiveDateTime>,
    }
    let time_column = match asks_for {
        AsksFor::Nothing => return Ok(Inserted::default()),
        AsksFor::Ids => "NULL",
        AsksFor::IdsAndTime => SCRIPT_TIME,
    };
    let select = format!(
        "SELECT CAST(LAST_INSERT_ID() AS SIGNED) AS first, CAST(@@session.auto_increment_increment AS SIGNED) AS step, \
        CAST({time_column} AS DATETIME(6)) AS script_time"
    );
    let rows: Vec<InsertedRow> = Statement::new(&select).rows(conn).await?;
    match rows.into_iter().next() {
        Some(InsertedRow { first, step, script_time: at }) if at.is_some() == (asks_for == AsksFor::IdsAndTime) => {
            Ok(Inserted { ids: InsertedIds { first, step }, script_time: at.map(system_time) })
        }
        // The ids are as unknown as after a lost answer: another run looks up what was made.
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

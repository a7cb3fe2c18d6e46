//! Gives each test its own database, and runs plain SQL in it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flashsale::{
    config::{Account as Of, GrantsConfig},
    db::{grants::statements, migrate::migrate},
};
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value, prelude::Queryable};
use tokio::{sync::Mutex, time::timeout};

use super::{
    mysqld::{self, Account, Engine, Mysqld},
    server::database_config,
    wait,
};

/// MySQL allows 64 characters.
const NAME_LENGTH_MAX: usize = 60;

/// How long a transaction may take to end.
const TRANSACTION_END_LIMIT: Duration = Duration::from_secs(10);
/// How long one statement or login may take: more than the 50 s for which a statement waits for a lock.
const STATEMENT_LIMIT: Duration = Duration::from_secs(70);
/// A little more than the 0.1 s for which MariaDB keeps its copy of the open transactions.
const TRANSACTIONS_AGE_MAX: Duration = Duration::from_millis(110);

/// Holds a database, and drops it from the server at the end unless the test has failed.
pub struct TestDatabase {
    name: String,
    port: u16,
    engine: Engine,
    times_moved: AtomicBool,
    /// Whether each program has its own account here, as `server grants` prints it.
    has_accounts: AtomicBool,
}

impl TestDatabase {
    /// Creates a database with the service's tables on the shared server. `name` is the test's.
    pub async fn create(name: &str) -> Self {
        let database = Self::create_empty(name).await;
        database.migrate().await;
        database
    }

    /// Creates a database with the service's tables on the test's own server.
    pub async fn create_on(mysqld: &Mysqld, name: &str) -> Self {
        let database = Self::create_empty_on(mysqld, name).await;
        database.migrate().await;
        database
    }

    /// Creates a database without tables on the shared server.
    pub async fn create_empty(name: &str) -> Self {
        let shared = tokio::task::spawn_blocking(Mysqld::shared).await;
        Self::create_empty_on(shared.unwrap(), name).await
    }

    /// Creates a database without tables on the test's own server.
    pub async fn create_empty_on(mysqld: &Mysqld, name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name: String = format!("it_{number}_{name}").chars().take(NAME_LENGTH_MAX).collect();
        let port = mysqld.port();
        let mut connection = RawConnection::open(&mysqld::url(Account::Root, port, "")).await.unwrap();
        connection.execute(&format!("CREATE DATABASE `{name}`")).await;
        connection.close().await;
        let (times_moved, has_accounts) = Default::default();
        Self { name, port, engine: mysqld.engine(), times_moved, has_accounts }
    }

    /// Migrates by the migrator's account, and gives the other accounts their rights.
    async fn migrate(&self) {
        self.has_accounts.store(true, Ordering::Relaxed);
        self.grant(&[Of::Migrator]).await;
        let config = database_config(&self.url_for(Of::Migrator), 1);
        // The migrations need a multi-threaded runtime, and a test's runtime may have one thread only.
        let migrated = on_own_runtime(async move { migrate(&config).await });
        tokio::task::spawn_blocking(|| migrated.join()).await.unwrap().unwrap().unwrap();
        self.grant(&[Of::Server, Of::Sweeper, Of::Auditor, Of::Repairer, Of::Purger]).await;
    }

    /// Gives accounts their rights, in the words of `server grants`.
    async fn grant(&self, accounts: &[Of]) {
        let config = GrantsConfig {
            database: None,
            host: "127.0.0.1".to_owned(),
            prefix: mysqld::USER_PREFIX.to_owned(),
            accounts: accounts.to_vec(),
            existing_users: true,
        };
        self.execute(&statements(&self.name, &config)).await;
    }

    /// Returns the database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the server's DATABASE_URL.
    pub fn url(&self) -> String {
        self.url_for(Of::Server)
    }

    /// Returns the DATABASE_URL of the programs that log in by `account`.
    ///
    /// A database that was created without tables has one account for all programs.
    pub fn url_for(&self, account: Of) -> String {
        self.url_for_at(account, self.port)
    }

    /// Returns the DATABASE_URL of an installation that has one account for all programs.
    pub fn owner_url(&self) -> String {
        mysqld::url(Account::Owner, self.port, &self.name)
    }

    /// Returns the server's DATABASE_URL through a proxy at `port`.
    pub fn url_at(&self, port: u16) -> String {
        self.url_for_at(Of::Server, port)
    }

    fn url_for_at(&self, account: Of, port: u16) -> String {
        let account = if self.has_accounts.load(Ordering::Relaxed) { Account::Of(account) } else { Account::Owner };
        mysqld::url(account, port, &self.name)
    }

    /// Returns the port of the database server itself.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects as root.
    pub async fn connect(&self) -> RawConnection {
        RawConnection::open(&mysqld::url(Account::Root, self.port, &self.name)).await.unwrap()
    }

    /// Runs one statement as root, on its own connection.
    pub async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        connection.execute(sql).await;
        connection.close().await;
    }

    /// Runs a statement that makes holds or orders older or younger.
    ///
    /// From now on the times of a row need not agree with each other, and [`Self::assert_audit_clean`] passes over them.
    pub async fn move_times(&self, sql: &str) {
        self.times_moved.store(true, Ordering::Relaxed);
        self.execute(sql).await;
    }

    /// Tells whether [`Self::move_times`] was called.
    pub fn has_moved_times(&self) -> bool {
        self.times_moved.load(Ordering::Relaxed)
    }

    /// Returns the first column of the only row, which must be a number.
    pub async fn query_i64(&self, sql: &str) -> i64 {
        let mut connection = self.connect().await;
        let number = connection.query_i64(sql).await;
        connection.close().await;
        number
    }

    /// Returns all rows with every value as text.
    pub async fn query_rows(&self, sql: &str) -> Vec<Vec<String>> {
        let mut connection = self.connect().await;
        let rows = connection.query_rows(sql).await;
        connection.close().await;
        rows
    }

    /// Counts the open transactions in connections to this database.
    pub async fn open_transactions(&self) -> usize {
        self.transactions(Transactions::Open).await.len()
    }

    /// Counts the transactions that wait for a row which another transaction has locked.
    pub async fn waiting_transactions(&self) -> usize {
        self.transactions(Transactions::Waiting).await.len()
    }

    /// Locks at least one row by `rows`, such as `holds WHERE id = 1`, until the connection ends its transaction.
    ///
    /// It runs under READ COMMITTED, since otherwise the rows that it only passes would stay locked.
    pub async fn lock_rows(&self, rows: &str) -> RawConnection {
        let mut holder = self.connect().await;
        holder.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await;
        holder.execute("BEGIN").await;
        let locked = holder.query_rows(&format!("SELECT 1 FROM {rows} FOR UPDATE")).await;
        assert!(!locked.is_empty(), "nothing to lock: {rows}");
        holder
    }

    /// Waits until exactly one transaction waits for a locked row, and returns the id of its connection.
    pub async fn wait_for_waiter(&self) -> u32 {
        wait::eventually_some(TRANSACTION_END_LIMIT, "a transaction that waits for a row", async || {
            let waiting = self.transactions(Transactions::Waiting).await;
            (waiting.len() == 1).then(|| waiting[0])
        })
        .await
    }

    /// Waits until a statement waits for a table that another connection has locked.
    pub async fn wait_for_table_waiter(&self) {
        let waiting = format!(
            "SELECT COUNT(*) FROM {} WHERE db = DATABASE() AND state LIKE 'Waiting for table metadata lock'",
            self.engine.processlist()
        );
        wait::eventually(TRANSACTION_END_LIMIT, "a statement that waits for a table", async || {
            self.query_i64(&waiting).await > 0
        })
        .await;
    }

    /// Returns the ids of the connections with such transactions.
    async fn transactions(&self, which: Transactions) -> Vec<u32> {
        // MariaDB renews its copy innodb_trx only if no connection has read it for 0.1 s, so nothing else may read it.
        static LAST_LOOK: Mutex<Option<Instant>> = Mutex::const_new(None);
        let mut last_look = LAST_LOOK.lock().await;
        if let Some(last_look) = *last_look
            && self.engine == Engine::MariaDb
        {
            wait::until(last_look + TRANSACTIONS_AGE_MAX).await;
        }
        let mut connection = self.connect().await;
        let rows = connection.query_rows(&which.query(self.engine, &self.name)).await;
        connection.close().await;
        *last_look = Some(Instant::now());
        rows.iter().map(|row| row[0].parse().unwrap()).collect()
    }

    /// Fails the test if a transaction stays open for too long.
    pub async fn assert_no_open_transactions(&self) {
        wait::eventually(TRANSACTION_END_LIMIT, "the end of every transaction", async || {
            self.open_transactions().await == 0
        })
        .await;
    }

    /// Returns the ids of the connections to this database.
    pub async fn connection_ids(&self) -> Vec<u32> {
        let mut connection = self.connect().await;
        let ids = connection.other_ids(self.engine, &self.name).await;
        connection.close().await;
        ids
    }

    /// Kills all connections to this database, as an operator would.
    pub async fn kill_connections(&self) {
        let mut connection = self.connect().await;
        for id in connection.other_ids(self.engine, &self.name).await {
            // The connection may have ended by itself.
            let _ = connection.try_execute(&format!("KILL {id}")).await;
        }
        connection.close().await;
    }
}

/// Says which transactions are asked for.
#[derive(Clone, Copy)]
enum Transactions {
    Open,
    Waiting,
}

impl Transactions {
    /// Returns the query for the ids of the connections to `database` with such transactions.
    ///
    /// MySQL's innodb_trx also shows statements, which fails for the reason told at [`Engine::processlist`].
    fn query(self, engine: Engine, database: &str) -> String {
        match (engine, self) {
            (Engine::MariaDb, which) => format!(
                "SELECT trx_mysql_thread_id
                   FROM information_schema.innodb_trx
                   JOIN information_schema.processlist ON processlist.id = innodb_trx.trx_mysql_thread_id
                  WHERE processlist.db = '{database}' AND {}",
                match which {
                    Self::Open => "TRUE",
                    Self::Waiting => "trx_state = 'LOCK WAIT'",
                }
            ),
            (Engine::MySql, Self::Open) => format!(
                "SELECT processlist_id
                   FROM performance_schema.events_transactions_current
                   JOIN performance_schema.threads USING (thread_id)
                  WHERE processlist_db = '{database}' AND state = 'ACTIVE'"
            ),
            (Engine::MySql, Self::Waiting) => format!(
                "SELECT DISTINCT processlist_id
                   FROM performance_schema.data_lock_waits
                   JOIN performance_schema.threads ON thread_id = requesting_thread_id
                  WHERE processlist_db = '{database}'"
            ),
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the failed test's database was {}", self.name);
            return;
        }
        let (name, url) = (self.name.clone(), mysqld::url(Account::Root, self.port, ""));
        // A server that the test has stopped can't drop the database and goes with its folder.
        let _ = on_own_runtime(drop_database(name, url)).join();
    }
}

/// Runs `work` in its own thread and multi-threaded runtime.
///
/// The test's runtime may have one thread only, or may be about to end.
fn on_own_runtime<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.unwrap().block_on(work)
    })
}

async fn drop_database(name: String, url: String) -> Result<(), mysql_async::Error> {
    let mut connection = RawConnection::open(&url).await?;
    // An open transaction would block the drop, and the server ends with the process anyway.
    connection.try_execute("SET lock_wait_timeout = 1").await?;
    connection.try_execute(&format!("DROP DATABASE `{name}`")).await?;
    connection.connection.disconnect().await
}

/// Settings that the tests' own connections rely on, whatever the server's defaults are.
const SETTINGS: &str = "SET SESSION TRANSACTION READ WRITE;\
    SET time_zone = '+00:00', autocommit = 1, completion_type = NO_CHAIN, sql_safe_updates = 0,\
    sql_select_limit = 18446744073709551615, max_join_size = 18446744073709551615, sql_big_selects = 1,\
    wait_timeout = 28800 /*M!100301 , max_statement_time = 0 */ /*!80000 , max_execution_time = 0 */";

/// Runs SQL on one connection, in UTC and with the server's default isolation.
pub struct RawConnection {
    connection: Conn,
}

impl RawConnection {
    /// Logs in with the account in the `url`.
    pub async fn open(url: &str) -> Result<Self, mysql_async::Error> {
        let login = async {
            // By default the client would move to the socket that the server names.
            let opts = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false);
            let mut connection = Conn::new(opts).await?;
            connection.query_drop(SETTINGS).await?;
            Ok(Self { connection })
        };
        timeout(STATEMENT_LIMIT, login).await.unwrap_or_else(|_| panic!("no answer to the login {url}"))
    }

    /// Returns the connection's id at the server, for KILL.
    pub fn id(&self) -> u32 {
        self.connection.id()
    }

    /// Runs one statement: `BEGIN`, `SELECT … FOR UPDATE`, `SET GLOBAL read_only = ON`…
    pub async fn execute(&mut self, sql: &str) {
        let done = self.try_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{error} in {sql}"));
    }

    /// Runs one statement that may fail.
    pub async fn try_execute(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        let done = timeout(STATEMENT_LIMIT, self.connection.query_drop(sql)).await;
        done.unwrap_or_else(|_| panic!("no answer to {sql}"))
    }

    /// Returns the first column of the only row, which must be a number.
    pub async fn query_i64(&mut self, sql: &str) -> i64 {
        let rows = self.query_rows(sql).await;
        let [row] = rows.as_slice() else { panic!("{} rows from {sql}", rows.len()) };
        row[0].parse().unwrap_or_else(|error| panic!("{error}: {} from {sql}", row[0]))
    }

    /// Returns all rows with every value as text, and `NULL` for a missing one.
    pub async fn query_rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let rows = timeout(STATEMENT_LIMIT, self.connection.query(sql)).await;
        let rows: Result<Vec<Row>, _> = rows.unwrap_or_else(|_| panic!("no answer to {sql}"));
        let rows = rows.unwrap_or_else(|error| panic!("{error} in {sql}"));
        let texts = rows.into_iter().map(|row| row.unwrap().iter().map(text).collect());
        texts.collect()
    }

    /// Returns the ids of the other connections to `database`.
    async fn other_ids(&mut self, engine: Engine, database: &str) -> Vec<u32> {
        let processlist = engine.processlist();
        let rows = self
            .query_rows(&format!(
                "SELECT id FROM {processlist} WHERE db = '{database}' AND id <> CONNECTION_ID() ORDER BY id"
            ))
            .await;
        rows.iter().map(|row| row[0].parse().unwrap()).collect()
    }

    /// Closes the connection in order; a dropped one just breaks.
    pub async fn close(self) {
        let _ = self.connection.disconnect().await;
    }
}

/// Returns a value of the text protocol, which is bytes or NULL.
fn text(value: &Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        value => value.as_sql(true),
    }
}

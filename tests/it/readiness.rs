//! Shows that ready means that the database takes writes, and that the log names what prevents them.

use std::time::Duration;

use flashsale::checkout::{Checkout, Readiness};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    client::assert_refused,
    counted::CountedCheckout,
    database::TestDatabase,
    mysqld::{Engine, Mysqld},
    programs::{GatewayProgram, ServerProgram},
    sale::hold,
    server::{database_config, default_settings},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
/// How long the server may take to be ready after the database takes writes again.
const READY_WITHIN: Duration = Duration::from_secs(4);

/// Runs the programs of the server and the gateway on a database.
struct Programs {
    server: ServerProgram,
    gateway: GatewayProgram,
}

impl Programs {
    async fn start(database: &TestDatabase) -> Self {
        let server = ServerProgram::start(&database.url(), &[]).await;
        let gateway = GatewayProgram::start(&server.address, &[("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")]).await;
        Self { server, gateway }
    }

    async fn readyz(&self) -> u16 {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(format!("http://{}/readyz", self.gateway.address)).send().await.unwrap().status().as_u16()
    }

    async fn wait_until_ready(&self, limit: Duration) {
        wait::eventually(limit, "SERVING", async || {
            self.server.clients.health("").await.unwrap() == ServingStatus::Serving
        })
        .await;
        wait::eventually(LIMIT, "readyz", async || self.readyz().await == 200).await;
    }

    /// Waits until the server says that it isn't ready for this reason, in the `times`th line of this kind.
    async fn wait_until_unready(&self, times: usize, reason: &str) {
        self.server.clients.wait_for_health(ServingStatus::NotServing).await;
        wait::eventually(LIMIT, "readyz", async || self.readyz().await == 503).await;
        let lines = self.server.process.lines_of("Not serving");
        assert_eq!((lines.len(), lines.last().unwrap()["reason"].as_str()), (times, Some(reason)), "{lines:#?}");
    }

    async fn stop(self) {
        self.gateway.stop().await;
        self.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_unready_while_its_database_is_read_only() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "unready").await;
    let programs = Programs::start(&database).await;
    let clients = &programs.server.clients;
    programs.wait_until_ready(LIMIT).await;
    let product_id = clients.create_product("Shoe", 1000, 10).await.product_id;
    let why = |name: &str| format!("the database is read-only ({name}): is it a secondary?");
    let settings = match mysqld.engine() {
        Engine::MariaDb => vec![("read_only", why("read_only"))],
        Engine::MySql => vec![
            ("read_only", why("read_only")),
            ("super_read_only", why("super_read_only")),
            ("offline_mode", "the database is in offline_mode".to_owned()),
        ],
    };
    for (index, (setting, reason)) in settings.iter().enumerate() {
        database.execute(&format!("SET GLOBAL {setting} = ON")).await;
        programs.wait_until_unready(index + 1, reason).await;
        assert_refused(clients.hold(product_id, 1).await, Code::Unavailable, "DATABASE_UNAVAILABLE");
        if *setting != "offline_mode" {
            assert_eq!(clients.available_stock(product_id).await, 10, "reads go on");
        }
        database.execute(&format!("SET GLOBAL {setting} = OFF")).await;
        if *setting == "super_read_only" {
            database.execute("SET GLOBAL read_only = OFF").await;
        }
        programs.wait_until_ready(READY_WITHIN).await;
    }
    clients.hold(product_id, 1).await.unwrap();
    programs.stop().await;
    database.assert_conserved().await;
}

/// A session keeps the format that the server had when the session began.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_unready_while_its_sessions_log_statements() {
    let mysqld = Mysqld::start_private(&["--log-bin=binlog", "--server-id=1"]).await;
    let database = TestDatabase::create_on(&mysqld, "statements").await;
    let programs = Programs::start(&database).await;
    programs.wait_until_ready(LIMIT).await;
    let product_id = programs.server.clients.create_product("Shoe", 1000, 10).await.product_id;
    database.execute("SET GLOBAL binlog_format = STATEMENT").await;
    database.kill_connections().await;
    programs.wait_until_unready(1, "binlog_format is STATEMENT: the service needs ROW or MIXED").await;
    let refused = programs.server.clients.hold(product_id, 1).await;
    assert_refused(refused, Code::Unavailable, "DATABASE_UNAVAILABLE");
    for format in ["MIXED", "ROW"] {
        database.execute(&format!("SET GLOBAL binlog_format = {format}")).await;
        programs.wait_until_ready(READY_WITHIN).await;
        programs.server.clients.hold(product_id, 1).await.unwrap();
    }
    programs.stop().await;
    database.assert_conserved().await;
}

async fn look(checkout: &Checkout) -> Readiness {
    checkout.readiness(true).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_in_a_console_makes_no_server_unready_but_a_lock_on_everything_does() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "console").await;
    let checkout = Checkout::open(&database_config(&database.url(), 2), default_settings()).unwrap();
    assert_eq!(look(&checkout).await.writes, Ok(()));

    let mut console = database.lock_rows("server_heartbeats").await;
    assert_eq!(look(&checkout).await.writes, Ok(()), "a row");
    console.execute("ROLLBACK").await;
    for table in ["server_heartbeats", "products", "sweeper_state"] {
        console.execute(&format!("LOCK TABLES {table} WRITE")).await;
        assert_eq!(look(&checkout).await.writes, Ok(()), "{table}");
        console.execute("UNLOCK TABLES").await;
    }
    console.execute("FLUSH TABLES WITH READ LOCK").await;
    let everything = "everything is locked: FLUSH TABLES WITH READ LOCK, or a backup?";
    assert_eq!(look(&checkout).await.writes, Err(everything.to_owned()));
    console.execute("UNLOCK TABLES").await;
    assert_eq!(look(&checkout).await.writes, Ok(()));
    checkout.close().await;
    database.assert_no_open_transactions().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_write_is_named() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "may_not").await;
    let may_not = "REVOKE INSERT ON server_heartbeats FROM 'flashsale_server'@'127.0.0.1'";
    database.execute(may_not).await;
    let checkout = Checkout::open(&database_config(&database.url(), 1), default_settings()).unwrap();
    let writes = look(&checkout).await.writes.unwrap_err();
    assert!(writes.starts_with("the account 'flashsale_server'@'"), "{writes}");
    assert!(writes.ends_with("' lacks INSERT on server_heartbeats; see `server grants`"), "{writes}");
    checkout.close().await;
}

/// The table never grows, however long a server lives, and no heartbeat is written where a commit says as much.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_writes_one_row_again_and_none_where_a_commit_is_fresh() {
    let database = TestDatabase::create("heartbeat").await;
    database
        .execute(
            "INSERT INTO products (name, price_cents, total_stock, available_stock, request_id, request_digest, \
             created_at) VALUES ('Shoe', 1000, 1000000, 1000000, 'p', REPEAT('d', 32), NOW())",
        )
        .await;
    let counted = CountedCheckout::open(&database).await;
    let rows = "SELECT COUNT(*), CAST(SUM(beats) AS SIGNED) FROM server_heartbeats";
    assert_eq!(database.query_rows(rows).await, [["1", "1"]]);
    let (looked, sent) = counted.count(look(&counted.checkout)).await;
    assert_eq!((looked.writes, sent.queries), (Ok(()), 1));
    assert_eq!(database.query_rows(rows).await, [["1", "2"]]);
    wait::eventually(LIMIT, "a look within a second of a hold", async || {
        counted.hold(hold(1, 1)).await.0.unwrap();
        counted.count(look(&counted.checkout)).await.1.queries == 0
    })
    .await;
    wait::eventually(LIMIT, "a look that writes", async || counted.count(look(&counted.checkout)).await.1.queries == 1)
        .await;
    // A refusal makes no commit that would show it.
    let (refused, _) = counted.hold(hold(1, 2_000_000)).await;
    refused.unwrap_err();
    let (_, sent) = counted.count(look(&counted.checkout)).await;
    assert_eq!(sent.queries, 1);
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM server_heartbeats").await, 1);
    counted.close().await;
}

//! Takes the database away under load and brings it back: nothing acknowledged is lost, and no person has to act.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use flashsale::{
    config::Account,
    db::{Connection, Database, Failure, FailureKind, Plan, Script, named_lock::NamedLock},
    error::Error,
    pb::{CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, PaymentStatus},
};
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    client::{Clients, assert_refused, reason},
    database::TestDatabase,
    mysqld::{self, Mysqld, as_account},
    proxy::Proxy,
    server::{TestServer, database_config, default_settings},
    wait,
    wire::Wire,
};

const LIMIT: Duration = Duration::from_secs(60);
const BUYERS: usize = 6;

/// Runs buyers who buy one unit after the other, and remembers their answers.
struct Load {
    stop: Arc<AtomicBool>,
    paid: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    buyers: Vec<JoinHandle<Acknowledged>>,
}

#[derive(Default)]
struct Acknowledged {
    /// The id and the request_id of each hold.
    holds: Vec<(i64, String)>,
    orders: Vec<i64>,
    /// The order and the key of each payment.
    payments: Vec<(i64, String)>,
}

impl Load {
    async fn start(address: &str, product_id: i64, prefix: &str) -> Self {
        let (stop, paid, failed): (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let mut buyers = Vec::new();
        for (number, clients) in Clients::connect_several(address, BUYERS).await.into_iter().enumerate() {
            let (stop, paid, failed) = (Arc::clone(&stop), Arc::clone(&paid), Arc::clone(&failed));
            let buyer = Buyer { clients, name: format!("{prefix}-{number}"), failed };
            buyers.push(tokio::spawn(async move {
                let mut acknowledged = Acknowledged::default();
                for purchase in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    buyer.buy(product_id, purchase, &mut acknowledged).await;
                    paid.fetch_add(1, Relaxed);
                }
                acknowledged
            }));
        }
        Self { stop, paid, failed, buyers }
    }

    /// Waits until `more` purchases are done from now on.
    async fn wait_for_purchases(&self, more: usize) {
        let enough = self.paid.load(Relaxed) + more;
        wait::eventually(LIMIT, "more purchases", async || self.paid.load(Relaxed) >= enough).await;
    }

    /// Waits until `more` calls have failed from now on.
    async fn wait_for_failures(&self, more: usize) {
        let enough = self.failed.load(Relaxed) + more;
        wait::eventually(LIMIT, "calls that fail", async || self.failed.load(Relaxed) >= enough).await;
    }

    /// Lets the buyers finish, and checks that all their answers are in the tables.
    async fn finish(self, database: &TestDatabase) {
        self.stop.store(true, Relaxed);
        for buyer in self.buyers {
            let acknowledged = buyer.await.unwrap();
            for (hold_id, request_id) in acknowledged.holds {
                assert_row(database, &format!("holds WHERE id = {hold_id} AND request_id = '{request_id}'")).await;
            }
            for order_id in acknowledged.orders {
                assert_row(database, &format!("orders WHERE id = {order_id} AND status = 'paid'")).await;
            }
            for (order_id, key) in acknowledged.payments {
                let row = format!("payment_webhooks WHERE order_id = {order_id} AND idempotency_key = '{key}'");
                assert_row(database, &row).await;
            }
        }
        // Each purchase was repeated until it was done, and none was done twice.
        let counts = "SELECT (SELECT COUNT(*) FROM holds), (SELECT COUNT(*) FROM orders), \
                      (SELECT COUNT(*) FROM payment_webhooks)";
        let paid = self.paid.load(Relaxed).to_string();
        assert_eq!(database.query_rows(counts).await, [[paid.clone(), paid.clone(), paid]]);
    }
}

async fn assert_row(database: &TestDatabase, row: &str) {
    assert_eq!(database.query_i64(&format!("SELECT COUNT(*) FROM {row}")).await, 1, "lost: {row}");
}

struct Buyer {
    clients: Clients,
    name: String,
    failed: Arc<AtomicUsize>,
}

impl Buyer {
    async fn buy(&self, product_id: i64, purchase: usize, acknowledged: &mut Acknowledged) {
        let name = format!("{}-{purchase}", self.name);
        let request_id = Some(name.clone());
        let hold = CreateHoldRequest { product_id, qty: 1, request_id: request_id.clone(), ..Default::default() };
        let hold_id = until_done(&self.failed, || self.clients.hold_by(hold.clone())).await.hold_id;
        acknowledged.holds.push((hold_id, name.clone()));
        let order = CreateOrderRequest { hold_id, request_id, ..Default::default() };
        let order_id = until_done(&self.failed, || self.clients.order_by(order.clone())).await.order_id;
        acknowledged.orders.push(order_id);
        until_done(&self.failed, || self.clients.pay(&name, order_id, PaymentStatus::Success)).await;
        acknowledged.payments.push((order_id, name));
    }
}

/// Repeats a call as a patient buyer does, as long as its error allows it.
async fn until_done<T, C>(failed: &AtomicUsize, call: impl Fn() -> C) -> T
where
    C: Future<Output = Result<T, Status>>,
{
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) => {
                let told = (status.code(), reason(&status));
                assert_eq!(told, (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned()), "{status:?}");
                failed.fetch_add(1, Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_shut_down_or_killed_under_load_loses_nothing_acknowledged() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "restarts").await;
    let server = TestServer::start(&database).await;
    let address = server.address();
    let product_id = server.clients.create_product("Shoe", 1000, 1_000_000).await.product_id;
    let load = Load::start(&address, product_id, "buyer").await;
    load.wait_for_purchases(20).await;
    for kill in [false, true] {
        if kill {
            mysqld.kill().await;
        } else {
            mysqld.stop().await;
        }
        load.wait_for_failures(2 * BUYERS).await;
        server.clients.wait_for_health(ServingStatus::NotServing).await;
        mysqld.start().await;
        load.wait_for_purchases(20).await;
        server.clients.wait_for_health(ServingStatus::Serving).await;
    }
    load.finish(&database).await;
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_cut_under_load_loses_nothing_acknowledged() {
    let database = TestDatabase::create("cut").await;
    let proxy = Proxy::start(database.port()).await;
    let server = TestServer::start_with(&database.url_at(proxy.port()), default_settings()).await;
    let address = server.address();
    let product_id = server.clients.create_product("Shoe", 1000, 1_000_000).await.product_id;
    let load = Load::start(&address, product_id, "buyer").await;
    load.wait_for_purchases(10).await;
    // The server's own repeats bridge a short break, and no caller hears of it.
    for _ in 0..5 {
        proxy.reset_connections();
        load.wait_for_purchases(5).await;
    }
    assert_eq!(load.failed.load(Relaxed), 0);
    proxy.cut();
    load.wait_for_failures(2 * BUYERS).await;
    server.clients.wait_for_health(ServingStatus::NotServing).await;
    proxy.heal();
    load.wait_for_purchases(10).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    load.finish(&database).await;
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_says_nothing_costs_callers_their_deadline_and_health_notices() {
    let database = TestDatabase::create("silent").await;
    let proxy = Proxy::start(database.port()).await;
    let server = TestServer::start_with(&database.url_at(proxy.port()), default_settings()).await;
    let address = server.address();
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    server.clients.hold(product_id, 1).await.unwrap();

    proxy.blackhole();
    let silent_since = Instant::now();
    let wire = Wire::connect(&address).await;
    let hold = CreateHoldRequest { product_id, qty: 1, request_id: Some("mine".to_owned()), ..Default::default() };
    let path = "flashsale.v1.FlashSaleService/CreateHold";
    let answer = wire.call::<CreateHoldResponse>(path, &[("grpc-timeout", "500m")], &hold).await;
    assert_refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    server.clients.wait_for_health(ServingStatus::NotServing).await;
    // An orchestrator gives up on probes that take some seconds.
    assert!(silent_since.elapsed() < Duration::from_secs(15), "{:?}", silent_since.elapsed());

    proxy.heal();
    server.clients.wait_for_health(ServingStatus::Serving).await;
    server.clients.hold_by(hold).await.unwrap();
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM holds WHERE request_id = 'mine'").await, 1);
    assert_eq!(server.clients.available_stock(product_id).await, 8);
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// For the database the session is just silent, and its transaction mustn't keep the hot row for hours.
///
/// The database also ends unused sessions after this time, which must fail no first statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_vanishes_between_lock_and_commit_frees_the_row_within_10_s() {
    let database = TestDatabase::create("vanished").await;
    database.execute("CREATE TABLE notes (note INT PRIMARY KEY) ENGINE = InnoDB").await;
    database.execute("INSERT INTO notes VALUES (1)").await;
    let unused = Database::new(&database_config(&database.owner_url(), 1)).unwrap();
    let attempts = std::sync::Mutex::new(Vec::new());
    let read = async |conn: &mut Connection, attempt| {
        attempts.lock().unwrap().push(attempt);
        diesel_async::SimpleAsyncConnection::batch_execute(conn, "DO 1").await?;
        Ok::<_, Failure>(())
    };
    unused.read("before", read).await.unwrap();

    let proxy = Proxy::start(database.port()).await;
    let url = mysqld::url(mysqld::Account::Owner, proxy.port(), database.name());
    let vanishing = Database::new(&database_config(&url, 1)).unwrap();
    let vanish = vanishing.transaction("vanish", async |conn: &mut Connection, _attempt| {
        diesel_async::SimpleAsyncConnection::batch_execute(conn, "SELECT note FROM notes FOR UPDATE").await?;
        proxy.blackhole();
        Ok::<_, Failure>(Plan { script: Script::default(), value: () })
    });
    let another = async {
        wait::eventually(LIMIT, "the transaction", async || database.open_transactions().await == 1).await;
        let mut another = database.connect().await;
        another.execute("SET innodb_lock_wait_timeout = 60").await;
        let began = Instant::now();
        another.query_rows("SELECT note FROM notes FOR UPDATE").await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        another.close().await;
    };
    let (vanished, ()) = tokio::join!(vanish, another);
    assert!(matches!(vanished, Err(Error::Unavailable(_))), "{vanished:?}");

    unused.read("after", read).await.unwrap();
    assert_eq!(*attempts.lock().unwrap(), [0, 0]);
    drop((unused, vanishing, proxy));
    database.assert_no_open_transactions().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_caught_by_the_databases_shutdown_is_taken_for_an_outage() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "shutdown").await;
    database.execute("CREATE TABLE notes (note INT PRIMARY KEY) ENGINE = InnoDB").await;
    database.execute("INSERT INTO notes VALUES (1)").await;
    let _holder = database.lock_rows("notes").await;

    let pool = Database::new(&database_config(&database.owner_url(), 1)).unwrap();
    let kind = std::sync::Mutex::new(Vec::new());
    let caught = pool.transaction("caught", async |conn: &mut Connection, _attempt| {
        let locked = diesel_async::SimpleAsyncConnection::batch_execute(conn, "UPDATE notes SET note = 2").await;
        let failure = Failure::from(locked.unwrap_err());
        kind.lock().unwrap().push(failure.kind);
        Err::<Plan<()>, _>(failure)
    });
    let stop = async {
        database.wait_for_waiter().await;
        mysqld.stop().await;
    };
    let (caught, ()) = tokio::join!(caught, stop);
    assert!(matches!(caught, Err(Error::Unavailable(_))), "{caught:?}");
    let kinds = kind.into_inner().unwrap();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == FailureKind::Away), "{kinds:?}");

    mysqld.start().await;
    pool.transaction("after", async |_conn: &mut Connection, _attempt| {
        Ok::<_, Failure>(Plan { script: Script::default(), value: () })
    })
    .await
    .unwrap();
    assert_eq!(database.query_i64("SELECT note FROM notes").await, 1);
}

/// A network that drops the answer to GET_LOCK must not stop a sweep or a migration for ever.
#[tokio::test]
async fn a_lock_by_name_is_not_waited_for_longer_than_its_limit() {
    const WAIT_SECONDS: i64 = 3;
    let database = TestDatabase::create("silent_lock").await;
    let proxy = Proxy::start(database.port()).await;
    let held =
        NamedLock::take(&database_config(&database.url_for(Account::Sweeper), 1), "sweep", 0).await.unwrap().unwrap();
    let config = database_config(&as_account(Account::Sweeper, &database.url_at(proxy.port())), 1);
    let silence = async {
        let waiting = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{}' AND state = 'User lock'",
            database.name()
        );
        wait::eventually(LIMIT, "GET_LOCK", async || database.query_i64(&waiting).await == 1).await;
        proxy.blackhole();
        held.release().await;
    };
    let waited =
        tokio::time::timeout(LIMIT, async { tokio::join!(NamedLock::take(&config, "sweep", WAIT_SECONDS), silence).0 });
    let taken = waited.await.unwrap();
    assert!(matches!(taken, Err(Error::Unavailable(_))), "{taken:?}");
}

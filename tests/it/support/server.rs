//! The server under test: the real one, in this process, on port 0, with a database of the test's own.

use std::{net::SocketAddr, time::Duration};

use flashsale::{
    checkout::{Checkout, Settings},
    config::DatabaseConfig,
    grpc,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{client::Clients, database::TestDatabase};

/// How long a server under test may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Settings of a server under test: the defaults.
pub(crate) fn default_settings() -> Settings {
    Settings { hold_ttl: Duration::from_secs(120), payment_due: Some(Duration::from_secs(30 * 60)), lane_queue: 4096 }
}

/// A pool on a database, as the programs make it.
pub(crate) fn database_config(url: &str, pool_size: usize) -> DatabaseConfig {
    DatabaseConfig::new(url.to_owned().into(), pool_size)
}

/// A running server. Dropped without [`TestServer::stop`] it ends with the test's runtime.
pub(crate) struct TestServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), grpc::ServeError>>,
    /// Calls over one connection.
    pub(crate) clients: Clients,
}

impl TestServer {
    /// On a database, with the default settings.
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_with(&database.url(), default_settings()).await
    }

    /// On the database at `url`.
    pub(crate) async fn start_with(url: &str, settings: Settings) -> Self {
        Self::start_with_pool(url, 16, settings).await
    }

    /// As [`Self::start_with`], with at most `pool_size` connections to the database.
    pub(crate) async fn start_with_pool(url: &str, pool_size: usize, settings: Settings) -> Self {
        let checkout = Checkout::open(&database_config(url, pool_size), settings).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let ended = tokio::spawn(grpc::serve(listener, checkout, shutdown));
        let clients = Clients::connect(&address.to_string()).await;
        Self { address, stop: Some(stop), ended, clients }
    }

    /// Where it listens, as `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Begins the shutdown, as SIGTERM does.
    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Shuts the server down and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        // The client's open connection would keep a draining server waiting.
        drop(self.clients);
        let ended = tokio::time::timeout(STOP_LIMIT, self.ended).await;
        ended.unwrap().unwrap().unwrap();
    }
}

/// A server and its database: what most tests need.
pub(crate) struct Sale {
    pub(crate) database: TestDatabase,
    pub(crate) server: TestServer,
}

impl Sale {
    /// With the default settings. `name` is the test's.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, default_settings()).await
    }

    /// With other settings.
    pub(crate) async fn start_with(name: &str, settings: Settings) -> Self {
        let database = TestDatabase::create(name).await;
        let server = TestServer::start_with(&database.url(), settings).await;
        Self { database, server }
    }

    /// Calls over one connection.
    pub(crate) fn clients(&self) -> &Clients {
        &self.server.clients
    }

    /// Makes all active holds a second too old.
    pub(crate) async fn expire_all_holds(&self) {
        let sql = "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'active'";
        self.database.move_times(sql).await;
    }

    /// Stops the server, and checks that no transaction is left open, no stock was lost or made, and an audit is clean.
    pub(crate) async fn finish(self) {
        self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
    }
}

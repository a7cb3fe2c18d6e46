//! Runs the real server in the test's process, on port 0 and with the test's own database.

use std::{net::SocketAddr, time::Duration};

use flashsale::{
    checkout::{Checkout, Settings},
    config::DatabaseConfig,
    grpc::{self, Front},
    listener::Limits,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{client::Clients, database::TestDatabase};

/// How long a server under test may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Returns the default settings of a server.
pub fn default_settings() -> Settings {
    Settings {
        hold_ttl: Duration::from_secs(120),
        payment_due: Some(Duration::from_secs(30 * 60)),
        require_amount: false,
        lane_queue: 4096,
    }
}

/// Returns the settings of a pool on a database, as the programs make it.
pub fn database_config(url: &str, pool_size: usize) -> DatabaseConfig {
    DatabaseConfig::new(url.to_owned().into(), pool_size)
}

/// Runs a server, which ends with the test's runtime if [`TestServer::stop`] isn't called.
pub struct TestServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), grpc::ServeError>>,
    /// Calls over one connection.
    pub clients: Clients,
}

impl TestServer {
    /// Starts a server on a database, with the default settings.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(&database.url(), default_settings()).await
    }

    /// Starts a server on the database at `url`.
    pub async fn start_with(url: &str, settings: Settings) -> Self {
        Self::start_with_pool(url, 16, settings).await
    }

    /// Starts a server with at most `pool_size` connections to the database.
    pub async fn start_with_pool(url: &str, pool_size: usize, settings: Settings) -> Self {
        let front = |listener| Front::for_everybody(listener, Limits::default());
        Self::start_before(url, pool_size, settings, front).await
    }

    /// Starts a server with the front that `front` makes for its listener.
    pub async fn start_before(
        url: &str,
        pool_size: usize,
        settings: Settings,
        front: impl FnOnce(TcpListener) -> Front,
    ) -> Self {
        let checkout = Checkout::open(&database_config(url, pool_size), settings).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let ended = tokio::spawn(grpc::serve(front(listener), checkout, shutdown));
        let clients = Clients::connect(&address.to_string()).await;
        Self { address, stop: Some(stop), ended, clients }
    }

    /// Returns where the server listens, as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Begins the shutdown, as SIGTERM does.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Shuts the server down and waits for its end.
    pub async fn stop(mut self) {
        self.begin_stop();
        // The client's open connection would keep a draining server waiting.
        drop(self.clients);
        let ended = tokio::time::timeout(STOP_LIMIT, self.ended).await;
        ended.unwrap().unwrap().unwrap();
    }
}

/// Holds a server and its database: what most tests need.
pub struct Sale {
    /// The database.
    pub database: TestDatabase,
    /// The server on it.
    pub server: TestServer,
}

impl Sale {
    /// Starts a sale with the default settings. `name` is the test's.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, default_settings()).await
    }

    /// Starts a sale with other settings.
    pub async fn start_with(name: &str, settings: Settings) -> Self {
        let database = TestDatabase::create(name).await;
        let server = TestServer::start_with(&database.url(), settings).await;
        Self { database, server }
    }

    /// Returns calls over one connection.
    pub fn clients(&self) -> &Clients {
        &self.server.clients
    }

    /// Makes all active holds expired by a second.
    pub async fn expire_all_holds(&self) {
        let sql = "UPDATE holds SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'active'";
        self.database.move_times(sql).await;
    }

    /// Stops the server and checks open transactions, conservation of stock, and the audit.
    pub async fn finish(self) {
        self.server.stop().await;
        self.database.assert_no_open_transactions().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
    }
}

//! Runs the three programs, each on its own ports and with default settings for the rest.

use std::time::Duration;

use flashsale::config::Account;
use serde_json::Value;

use super::{
    client::Clients,
    mysqld::{as_account, free_port},
    process::{Process, Program},
};

/// How long a program may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a program may take to end: the 25 s that the service promises to orchestrators.
pub const STOP_LIMIT: Duration = Duration::from_secs(25);

/// Starts a program with settings.
type Spawn = fn(&[(&str, &str)]) -> Process;

/// Runs a server program.
pub struct ServerProgram {
    /// The program's process.
    pub process: Process,
    /// Where the server listens, as `host:port`.
    pub address: String,
    /// Calls to it over one connection.
    pub clients: Clients,
    metrics: String,
}

impl ServerProgram {
    /// Starts a server on the database at `url`, with further settings.
    pub async fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1:0", url, settings).await
    }

    /// Starts a server on a known address.
    pub async fn start_at(address: &str, url: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(address, url, settings, |settings| Process::spawn(Program::Server, &[], settings)).await
    }

    /// Starts a server with standard output and standard error in one pipe.
    pub async fn start_on_one_pipe(url: &str, settings: &[(&str, &str)]) -> Self {
        let spawn = |settings: &[(&str, &str)]| Process::spawn_on_one_pipe(Program::Server, settings);
        Self::run("127.0.0.1:0", url, settings, spawn).await
    }

    async fn run(address: &str, url: &str, settings: &[(&str, &str)], spawn: Spawn) -> Self {
        let metrics = format!("127.0.0.1:{}", free_port());
        let own = [("DATABASE_URL", url), ("FLASHSALE_LISTEN", address), ("FLASHSALE_METRICS_LISTEN", &metrics)];
        let process = spawn(&[&own, settings].concat());
        let address = process.address(START_LIMIT).await;
        let clients = Clients::connect(&address).await;
        Self { process, address, clients, metrics }
    }

    /// Returns where the server serves its metrics and probes, as `host:port`.
    pub fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// Returns the address of the server's page of metrics.
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics)
    }

    /// Reads the server's page of metrics.
    pub async fn metrics(&self) -> String {
        page_of_metrics(&self.metrics).await
    }

    /// Ends the server by SIGTERM and returns its log.
    pub async fn stop(mut self) -> Vec<Value> {
        drop(self.clients);
        self.process.terminate();
        assert_eq!(self.process.wait_exit(STOP_LIMIT).await, 0);
        self.process.lines()
    }
}

/// Runs a gateway program.
pub struct GatewayProgram {
    /// The program's process.
    pub process: Process,
    /// Where the gateway listens, as `host:port`.
    pub address: String,
    metrics: String,
}

impl GatewayProgram {
    /// Starts a gateway in front of the server at `server_address`, with further settings.
    pub async fn start(server_address: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(server_address, settings, |settings| Process::spawn(Program::Gateway, &[], settings)).await
    }

    /// Starts a gateway with standard output and standard error in one pipe.
    pub async fn start_on_one_pipe(server_address: &str, settings: &[(&str, &str)]) -> Self {
        let spawn = |settings: &[(&str, &str)]| Process::spawn_on_one_pipe(Program::Gateway, settings);
        Self::run(server_address, settings, spawn).await
    }

    async fn run(server_address: &str, settings: &[(&str, &str)], spawn: Spawn) -> Self {
        let metrics = format!("127.0.0.1:{}", free_port());
        let server_url = format!("http://{server_address}");
        let own = [
            ("FLASHSALE_GATEWAY_LISTEN", "127.0.0.1:0"),
            ("FLASHSALE_SERVER_URL", &server_url),
            ("FLASHSALE_METRICS_LISTEN", &metrics),
        ];
        let process = spawn(&[&own, settings].concat());
        let address = process.address(START_LIMIT).await;
        Self { process, address, metrics }
    }

    /// Returns where the gateway serves its metrics and probes, as `host:port`.
    pub fn metrics_address(&self) -> &str {
        &self.metrics
    }

    /// Reads the gateway's page of metrics.
    pub async fn metrics(&self) -> String {
        page_of_metrics(&self.metrics).await
    }

    /// Ends the gateway by SIGTERM and returns its log.
    pub async fn stop(mut self) -> Vec<Value> {
        self.process.terminate();
        assert_eq!(self.process.wait_exit(STOP_LIMIT).await, 0);
        self.process.lines()
    }
}

async fn page_of_metrics(address: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{address}/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// Runs the sweeper to its end, by its own account where `url` has the server's, and returns its exit code, its log, and its standard error.
pub async fn sweep(url: &str, settings: &[(&str, &str)]) -> (i32, Vec<Value>, String) {
    let url = as_account(Account::Sweeper, url);
    let mut process = Process::spawn(Program::Sweeper, &[], &[&[("DATABASE_URL", &*url)], settings].concat());
    let code = process.wait_exit(START_LIMIT).await;
    (code, process.lines(), process.stderr())
}

/// Runs `server migrate` with further arguments, such as `--seed`, by the migrator's account where `url` has the server's.
///
/// Returns its exit code and its log.
pub async fn migrate(url: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
    let arguments = [&["migrate"], arguments].concat();
    let url = as_account(Account::Migrator, url);
    let mut process = Process::spawn(Program::Server, &arguments, &[("DATABASE_URL", &*url)]);
    let code = process.wait_exit(START_LIMIT).await;
    (code, process.lines())
}

/// Returns the lines with this message.
pub fn lines_of<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

//! The three programs at work: each on ports of its own, with the rest of its settings as they come.

use std::time::Duration;

use serde_json::Value;

use super::{
    client::Clients,
    mysqld::free_port,
    process::{Process, Program},
};

/// How long a program may take to start, and to end: an orchestrator is promised 25 s.
const START_LIMIT: Duration = Duration::from_secs(60);
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(25);

/// How a program is started with its settings.
type Spawn = fn(&[(&str, &str)]) -> Process;

/// A server and calls to it.
pub(crate) struct ServerProgram {
    pub(crate) process: Process,
    pub(crate) address: String,
    pub(crate) clients: Clients,
    metrics: String,
}

impl ServerProgram {
    /// On the database at `url`, with further settings.
    pub(crate) async fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1:0", url, settings).await
    }

    /// As [`Self::start`], on an address that is known before.
    pub(crate) async fn start_at(address: &str, url: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(address, url, settings, |settings| Process::spawn(Program::Server, &[], settings)).await
    }

    /// As [`Self::start`], with standard output and standard error in one pipe.
    pub(crate) async fn start_on_one_pipe(url: &str, settings: &[(&str, &str)]) -> Self {
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

    /// Its page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        page_of_metrics(&self.metrics).await
    }

    /// Asks it to end, waits for that, and returns its log.
    pub(crate) async fn stop(mut self) -> Vec<Value> {
        drop(self.clients);
        self.process.terminate();
        assert_eq!(self.process.wait_exit(STOP_LIMIT).await, 0);
        self.process.lines()
    }
}

/// A gateway.
pub(crate) struct GatewayProgram {
    pub(crate) process: Process,
    pub(crate) address: String,
    metrics: String,
}

impl GatewayProgram {
    /// In front of the server at `server_address`, with further settings.
    pub(crate) async fn start(server_address: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(server_address, settings, |settings| Process::spawn(Program::Gateway, &[], settings)).await
    }

    /// As [`Self::start`], with standard output and standard error in one pipe.
    pub(crate) async fn start_on_one_pipe(server_address: &str, settings: &[(&str, &str)]) -> Self {
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

    /// Its page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        page_of_metrics(&self.metrics).await
    }

    /// Asks it to end, waits for that, and returns its log.
    pub(crate) async fn stop(mut self) -> Vec<Value> {
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

/// Runs the sweeper to its end; returns its exit code, its log, and its standard error.
pub(crate) async fn sweep(url: &str, settings: &[(&str, &str)]) -> (i32, Vec<Value>, String) {
    let mut process = Process::spawn(Program::Sweeper, &[], &[&[("DATABASE_URL", url)], settings].concat());
    let code = process.wait_exit(START_LIMIT).await;
    (code, process.lines(), process.stderr())
}

/// Runs `server migrate`, also with `--seed`, to its end; returns its exit code and its log.
pub(crate) async fn migrate(url: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
    let arguments = [&["migrate"], arguments].concat();
    let mut process = Process::spawn(Program::Server, &arguments, &[("DATABASE_URL", url)]);
    let code = process.wait_exit(START_LIMIT).await;
    (code, process.lines())
}

/// The lines with this message.
pub(crate) fn lines_of<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

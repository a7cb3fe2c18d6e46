//! Programs that are restarted at the same address, as a roll-out does it.

use std::time::Duration;

use super::balancer::{Backend, Balancer};
use crate::support::{
    process::{Process, Program},
    programs::STOP_LIMIT,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Is a program behind a balancer, with all its settings.
pub(super) struct Instance {
    pub(super) backend: Backend,
    program: Program,
    settings: Vec<(String, String)>,
    process: Process,
}

impl Instance {
    /// Starts a server at the addresses of `backend`.
    pub(super) async fn server(backend: &Backend, url: &str, settings: &[(&str, &str)]) -> Self {
        let address = backend.address();
        let own = [("DATABASE_URL", url), ("FLASHSALE_LISTEN", &address)];
        Self::start(Program::Server, backend, &[&own, settings].concat()).await
    }

    /// Starts a gateway in front of a server.
    pub(super) async fn gateway(backend: &Backend, server_url: &str, settings: &[(&str, &str)]) -> Self {
        let address = backend.address();
        let own = [
            ("FLASHSALE_SERVER_URL", server_url),
            ("FLASHSALE_GATEWAY_LISTEN", &address),
            ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true"),
        ];
        Self::start(Program::Gateway, backend, &[&own, settings].concat()).await
    }

    async fn start(program: Program, backend: &Backend, settings: &[(&str, &str)]) -> Self {
        let probes = format!("127.0.0.1:{}", backend.probes);
        let settings = [&[("FLASHSALE_METRICS_LISTEN", probes.as_str())], settings].concat();
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let process = spawn(program, &settings).await;
        Self { backend: backend.clone(), program, settings, process }
    }

    /// Ends the program by SIGTERM, starts it again, and waits until the balancer calls it.
    pub(super) async fn restart(&mut self, balancer: &Balancer) {
        self.end().await;
        self.start_again(balancer).await;
    }

    /// Starts the program again after its end, and waits until the balancer calls it.
    pub(super) async fn start_again(&mut self, balancer: &Balancer) {
        self.process = spawn(self.program, &self.settings).await;
        balancer.wait_until_up(&self.backend).await;
    }

    /// Ends the program by SIGTERM.
    pub(super) async fn end(&mut self) {
        self.process.terminate();
        assert_eq!(self.process.wait_exit(STOP_LIMIT).await, 0);
    }
}

async fn spawn(program: Program, settings: &[(String, String)]) -> Process {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let process = Process::spawn(program, &[], &settings);
    process.address(LIMIT).await;
    process
}

//! What grpc.health.v1 says: "" and the three services are SERVING while the database takes writes and has all
//! migrations; `liveness` is SERVING as long as the process is.

use std::{sync::Arc, time::Duration};

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::HealthReporter,
};
use tracing::{info, warn};

use super::{gate::Gate, sweeper_metrics};
use crate::{checkout::Checkout, pb::SERVICES};

/// The name of the server as a whole, which depends on the database like each of its own services.
const WHOLE_SERVER: &str = "";
/// Never depends on the database: an orchestrator that restarts by it would restart the server for nothing.
const LIVENESS: &str = "liveness";
/// How often the database is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to answer. A transaction is more patient with a silent database, but probes give up after
/// seconds and the calls of these seconds are as good as lost.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Sets what the health service says.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

impl Health {
    /// The health service, NOT_SERVING until the database has answered.
    pub async fn new() -> (Self, HealthServer<impl HealthService>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self { reporter };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        (health, service)
    }

    async fn set(&self, status: ServingStatus) {
        for service in [WHOLE_SERVER].iter().chain(SERVICES) {
            self.reporter.set_service_status(*service, status).await;
        }
    }

    /// NOT_SERVING from now on.
    pub async fn stop(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Asks the database every second and says what it finds, at once for the first time; logs each change, and why.
    /// Exports what the sweeps did, since a sweep itself is gone before anybody asks. Never ends by itself.
    pub(super) async fn watch(self, checkout: Checkout, gate: Arc<Gate>) {
        let mut known: Option<Result<(), String>> = None;
        let mut current = false;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let look = checkout.readiness(current);
            let looked = tokio::time::timeout(LOOK_MAX, look).await;
            let found = looked.unwrap_or_else(|_| Err("the database does not answer in time".to_owned()));
            // Whoever takes no writes still can be read from.
            current = found.is_ok();
            gate.looked(current);
            let found = found.and_then(|readiness| {
                readiness.totals.iter().for_each(sweeper_metrics::export);
                readiness.writes
            });
            if known.as_ref() == Some(&found) {
                continue;
            }
            match &found {
                Ok(()) => {
                    info!("Serving: the database takes writes and is up to date");
                    self.set(ServingStatus::Serving).await;
                }
                Err(reason) => {
                    warn!(reason, "Not serving");
                    self.set(ServingStatus::NotServing).await;
                }
            }
            known = Some(found);
        }
    }
}

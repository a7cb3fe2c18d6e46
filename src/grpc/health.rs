//! The health service, grpc.health.v1.
//!
//! "" and the services of the product are SERVING while the database takes writes and has all migrations. `liveness` is
//! SERVING as long as the process runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::HealthReporter,
};
use tracing::{info, warn};

use super::gate::Gate;
use crate::{checkout::Checkout, metrics, pb::SERVICES};

/// Names the server as a whole. It depends on the database, like each service of the product.
const WHOLE_SERVER: &str = "";
/// Names the service that doesn't depend on the database. An orchestrator would otherwise restart the server for
/// nothing.
const LIVENESS: &str = "liveness";
/// Says how often the database is checked.
const INTERVAL: Duration = Duration::from_secs(1);
/// Limits how long a check may take. A transaction waits longer for a silent database, but a probe gives up after
/// seconds.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// Says whether the server as a whole is SERVING, without a call. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Returns what health last said.
    pub(super) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the answers of the health service.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    readiness: Readiness,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

impl Health {
    /// Makes the health service. It says NOT_SERVING until the database has answered, and `readiness` says the same.
    pub(super) async fn new(readiness: Readiness) -> (Self, HealthServer<impl HealthService>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self { reporter, readiness };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        (health, service)
    }

    async fn set(&self, status: ServingStatus) {
        metrics::set_serving(status == ServingStatus::Serving);
        self.readiness.0.store(status == ServingStatus::Serving, Ordering::Relaxed);
        for service in [WHOLE_SERVER].iter().chain(SERVICES) {
            self.reporter.set_service_status(*service, status).await;
        }
    }

    /// Sets NOT_SERVING for good.
    pub async fn stop(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Checks the database now and then every second, sets the answer, and logs each change with its reason. Never
    /// ends by itself.
    pub(super) async fn watch(self, checkout: Checkout, gate: Arc<Gate>) {
        let mut known: Option<Result<(), String>> = None;
        let mut current = false;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let check = checkout.readiness(current);
            let checked = tokio::time::timeout(CHECK_MAX, check).await;
            let found = checked.unwrap_or_else(|_| Err("the database does not answer in time".to_owned()));
            // A database that takes no writes can still be read.
            current = found.is_ok();
            gate.checked(current);
            let found = found.and_then(|readiness| readiness.writes);
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

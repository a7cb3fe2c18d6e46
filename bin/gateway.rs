//! The gateway program: it serves flash-sale checkouts over HTTP and JSON, and calls a server for each.

use std::{env, error::Error, future, process::ExitCode};

use flashsale::{
    config::{GatewayConfig, VisibleSecret},
    gateway::{self, Readiness, Served, Upstream},
    listener::{Listener, listen, warn_of_few_files},
    metrics, probes, shutdown,
    telemetry::{self, WhenFull},
};
use tikv_jemallocator::Jemalloc;
use tokio::runtime;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let started = GatewayConfig::from_args(env::args_os())
        .and_then(|config| Ok((telemetry::init("flashsale-gateway", config.log_format, WhenFull::Drop)?, config)));
    let (telemetry, config) = match started {
        Ok(started) => started,
        Err(stop) => return stop.report(),
    };
    GatewayConfig::visible_secrets(env::args_os()).iter().for_each(VisibleSecret::warn);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let code = match shutdown::run_to_end(runtime, run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error as &dyn Error, "The gateway failed");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

async fn run(config: GatewayConfig) -> Result<(), Box<dyn Error>> {
    config.risks.warn();
    // Each address has its own connections.
    warn_of_few_files(2 * config.limits.connections_max);
    let signal = shutdown::signal()?;
    let stop = async { signal.await.end_at_next() };
    tokio::spawn(config.reload.keep_fresh()?);
    let upstream = Upstream::new(&config.server_url, config.credentials, config.timeout)?;
    let readiness = Readiness::new(upstream.clone());
    let listener = Listener { tcp: listen(config.listen)?, tls: config.tls };
    let metrics_listener = listen(config.metrics_listen)?;
    let is_ready = {
        let readiness = readiness.clone();
        move || readiness.clone().is_ready()
    };
    metrics::start_gateway();
    metrics::before_each_page({
        let is_ready = is_ready.clone();
        move || {
            let ready = is_ready();
            async move { metrics::set_serving(ready.await) }
        }
    });
    tokio::spawn(probes::serve(metrics_listener, config.limits, is_ready, future::pending()));
    let served = Served { shop: config.routes.has_shop().then_some(config.access), senders: config.senders };
    Ok(gateway::serve(listener, upstream, served, config.limits, readiness, stop).await?)
}

//! The gateway program: it serves flash-sale checkouts over HTTP and JSON, and calls a server for each.

use std::{env, error::Error, future, process::ExitCode};

use flashsale::{
    config::GatewayConfig,
    gateway::{self, EventSenders, Upstream},
    listener::listen,
    metrics, shutdown,
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
    let stop = shutdown::signal()?;
    let upstream = Upstream::new(&config.server_url, config.timeout)?;
    let listener = listen(config.listen)?;
    let server = upstream.clone();
    metrics::start_gateway();
    metrics::before_each_page(move || {
        let server = server.clone();
        async move { metrics::set_serving(server.is_ready().await) }
    });
    tokio::spawn(telemetry::serve_metrics(listen(config.metrics_listen)?, future::pending()));
    let senders = EventSenders { webhook: config.webhook, stripe: config.stripe };
    Ok(gateway::serve(listener, upstream, senders, stop).await?)
}

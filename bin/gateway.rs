//! The gateway: serves flash-sale checkouts over HTTP and JSON, in front of a server.

use std::{env, error::Error, process::ExitCode};

use flashsale::{
    config::{GatewayConfig, Stop},
    shutdown,
    telemetry::{self, Guard},
};
use tokio::{net::TcpListener, runtime};

fn main() -> ExitCode {
    let (config, telemetry) = match start() {
        Ok(started) => started,
        Err(stop) => return stop.report(),
    };
    let done = runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into);
    let code = match done.and_then(|runtime| runtime.block_on(run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error as &dyn Error, "The gateway failed");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

fn start() -> Result<(GatewayConfig, Guard), Stop> {
    let config = GatewayConfig::from_args(env::args_os())?;
    let telemetry = telemetry::init("flashsale-gateway", config.log_format)?;
    Ok((config, telemetry))
}

async fn run(config: GatewayConfig) -> Result<(), Box<dyn Error>> {
    let stop = shutdown::signal()?;
    Ok(telemetry::serve_metrics(TcpListener::bind(config.metrics_listen).await?, stop).await?)
}

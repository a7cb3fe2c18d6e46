//! The sweeper: gives back the stock of expired holds and cancels overdue orders, once.

use std::{env, error::Error, process::ExitCode};

use flashsale::{
    config::{Stop, SweeperCommand, SweeperConfig},
    shutdown,
    telemetry::{self, Guard},
};
use tokio::runtime;

fn main() -> ExitCode {
    let (config, telemetry) = match start() {
        Ok(started) => started,
        Err(stop) => return stop.report(),
    };
    let done = runtime::Builder::new_current_thread().enable_all().build().map_err(Into::into);
    let code = match done.and_then(|runtime| runtime.block_on(run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error as &dyn Error, "The sweeper failed");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

fn start() -> Result<(SweeperConfig, Guard), Stop> {
    let config = SweeperConfig::from_args(env::args_os())?;
    let telemetry = telemetry::init("flashsale-sweeper", config.log_format)?;
    Ok((config, telemetry))
}

async fn run(config: SweeperConfig) -> Result<(), Box<dyn Error>> {
    let _stop = shutdown::signal()?;
    match config.command {
        SweeperCommand::Sweep => Err("there is nothing to sweep yet".into()),
    }
}

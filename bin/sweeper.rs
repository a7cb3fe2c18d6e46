//! The sweeper: gives back the stock of expired holds and cancels overdue orders, once, or audits the tables.

use std::{env, error::Error, io::Write, process::ExitCode};

use flashsale::{config::SweeperConfig, shutdown, sweeper, telemetry};
use tokio::runtime;

fn main() -> ExitCode {
    let started = SweeperConfig::from_args(env::args_os())
        .and_then(|config| Ok((telemetry::init("flashsale-sweeper", config.log_format)?, config)));
    let (telemetry, config) = match started {
        Ok(started) => started,
        Err(stop) => return stop.report(),
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Into::into);
    let code = match runtime.and_then(|runtime| runtime.block_on(run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not logged: the last line of the log is the report, and cron mails this one.
            let _ = writeln!(std::io::stderr(), "the sweeper failed: {error}");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

async fn run(config: SweeperConfig) -> Result<(), Box<dyn Error>> {
    sweeper::obey(&config, shutdown::signal()?).await
}

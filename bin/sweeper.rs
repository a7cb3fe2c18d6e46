//! The sweeper program: it gives back the stock of expired holds and overdue orders once, or audits or purges the tables.

use std::{env, error::Error, process::ExitCode};

use flashsale::{
    config::{SweeperConfig, VisibleSecret},
    setup, shutdown, sweeper,
    telemetry::{self, WhenFull},
};
use tokio::runtime;

fn main() -> ExitCode {
    let started = SweeperConfig::from_args(env::args_os()).and_then(|config| {
        setup::check(&config.database)?;
        Ok((telemetry::init("flashsale-sweeper", config.log_format, WhenFull::Wait(telemetry::PATIENCE))?, config))
    });
    let (telemetry, config) = match started {
        Ok(started) => started,
        Err(stop) => return stop.report(),
    };
    SweeperConfig::visible_secrets(env::args_os()).iter().for_each(VisibleSecret::warn);
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let code = match shutdown::run_to_end(runtime, run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Cron mails stderr. The log has its last line already: the report.
            telemetry.say_on_stderr(&format!("the sweeper failed: {error}"));
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

async fn run(config: SweeperConfig) -> Result<(), Box<dyn Error>> {
    config.risks.warn();
    let signal = shutdown::signal()?;
    sweeper::obey(&config, async { drop(signal.await) }).await
}

//! The server program: it serves flash-sale checkouts over gRPC, or brings the database's tables up to date.

use std::{env, error::Error, process::ExitCode};

use flashsale::{
    config::{ServerCommand, ServerConfig, VisibleSecret},
    grpc,
    listener::warn_of_few_files,
    setup, shutdown,
    startup::Stop,
    telemetry::{self, WhenFull},
};
use tikv_jemallocator::Jemalloc;
use tokio::runtime;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let started = ServerConfig::from_args(env::args_os()).and_then(|config| {
        if let ServerCommand::Grants(grants) = &config.command {
            return Err(Stop::Text(setup::grants(&config.database, grants)?));
        }
        setup::check(&config.database)?;
        Ok((telemetry::init("flashsale-server", config.log_format, WhenFull::Drop)?, config))
    });
    let (telemetry, config) = match started {
        Ok(started) => started,
        Err(stop) => return stop.report(),
    };
    ServerConfig::visible_secrets(env::args_os()).iter().for_each(VisibleSecret::warn);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let code = match shutdown::run_to_end(runtime, run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error as &dyn Error, "The server failed");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}

async fn run(config: ServerConfig) -> Result<(), Box<dyn Error>> {
    config.risks.warn();
    if let ServerCommand::Migrate { seed } = config.command {
        return Ok(setup::run(&config.database, seed).await?);
    }
    // Each address has its own connections.
    let addresses = 2 + usize::from(config.admin_listen.is_some());
    warn_of_few_files(addresses * config.limits.connections_max + config.database.pool_size);
    let signal = shutdown::signal()?;
    let stop = async { signal.await.end_at_next() };
    tokio::spawn(config.reload.clone().keep_fresh()?);
    Ok(grpc::run(config, stop).await?)
}

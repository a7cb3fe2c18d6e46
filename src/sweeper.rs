//! The sweeper's program, and one run of the sweep: expired holds and overdue orders give their units back, in bounded batches.
//!
//! A full batch means that there is more, a partial one that all was done. Runs don't overlap: the second finds the
//! first's lock and leaves it the work, or says that the first gets nowhere (`turn`). A sweep gives way to sales of the
//! same products: it rests between its batches. Correctness doesn't depend on that, since rows are locked with SKIP
//! LOCKED. A product that can't be swept keeps no other one from it (`work`).

pub mod audit;
mod turn;
mod work;

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use tracing::{Instrument, error, info};

use self::{
    turn::{STALLED_AFTER_SECONDS, SweepLock, Turn},
    work::{Told, Work},
};
use crate::{
    config::{SweeperCommand, SweeperConfig},
    db::{Database, named_lock::Holder},
    error::Error,
    telemetry::job_span,
};

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Transactions that found something.
    pub batches: u64,
    /// Holds expired.
    pub holds_expired: usize,
    /// Orders cancelled.
    pub orders_cancelled: usize,
    /// Units given back.
    pub stock_released: i64,
    /// Products that were left out because something is wrong with them.
    pub products_faulty: usize,
    /// Products that were left to the next sweep because somebody keeps their row locked.
    pub products_locked: usize,
    /// How long it took.
    pub took: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// It swept.
    Done(SweepReport),
    /// Another run is at work.
    AnotherIsRunning,
    /// Another run has the lock and gets nowhere.
    AnotherIsStalled {
        /// The database connection that has the lock.
        connection_id: Option<i64>,
    },
}

/// Says why a sweep doesn't end well although nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unswept {
    /// This number of products was left out because something is wrong with them.
    #[error("products left out: {0}. See \"Product left out of the sweep\" in its log, and run `sweeper audit`")]
    FaultyProducts(usize),
    /// Another run has the lock and makes no progress.
    #[error(
        "another sweep has got nowhere for {} minutes: end its process{}",
        STALLED_AFTER_SECONDS / 60,
        .connection_id.map(|id| format!(", or KILL its database connection {id}")).unwrap_or_default()
    )]
    AnotherIsStalled {
        /// The database connection that has the lock.
        connection_id: Option<i64>,
    },
}

impl Sweep {
    /// The result for whoever asks only whether all is well. A product whose row is locked is no fault: the next sweep
    /// tries it again.
    ///
    /// # Errors
    /// [`Unswept`].
    pub fn verdict(&self) -> Result<(), Unswept> {
        match *self {
            Self::Done(SweepReport { products_faulty: products @ 1.., .. }) => Err(Unswept::FaultyProducts(products)),
            Self::AnotherIsStalled { connection_id } => Err(Unswept::AnotherIsStalled { connection_id }),
            Self::Done(_) | Self::AnotherIsRunning => Ok(()),
        }
    }
}

/// Does what the settings ask for, once, in a trace of its own.
///
/// # Errors
/// Those of [`run`] and [`audit::run`], and what a sweep left out or an audit found.
pub async fn obey(
    config: &SweeperConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    match config.command {
        SweeperCommand::Sweep => {
            run(config, shutdown).instrument(job_span("sweep")).await?.verdict()?;
        }
        SweeperCommand::Audit { page, repair } => {
            let audit = audit::run(&config.database, page, repair, shutdown);
            audit.instrument(job_span("audit")).await?.verdict()?;
        }
    }
    Ok(())
}

/// Sweeps once and logs the report as its last line. A shutdown ends it after the batch at work.
///
/// # Errors
/// Those of [`Database::transaction`]; batches before the failed one stay done.
pub async fn run(config: &SweeperConfig, shutdown: impl Future<Output = ()>) -> Result<Sweep, Error> {
    let started = Instant::now();
    let mut report = SweepReport::default();
    let swept = lock_and_sweep(config, shutdown, &mut report).await;
    report.took = started.elapsed();
    let SweepReport { batches, holds_expired, orders_cancelled, stock_released, .. } = report;
    let SweepReport { products_faulty, products_locked, took, .. } = report;
    let seconds = took.as_secs_f64();
    match swept {
        Ok(None) => {
            info!(
                batches,
                holds_expired,
                orders_cancelled,
                stock_released,
                products_faulty,
                products_locked,
                seconds,
                "Sweep done"
            );
            Ok(Sweep::Done(report))
        }
        Ok(Some(other)) => Ok(other),
        Err(error) => {
            error!(
                %error,
                batches,
                holds_expired,
                orders_cancelled,
                stock_released,
                products_faulty,
                products_locked,
                seconds,
                "Sweep failed"
            );
            Err(error)
        }
    }
}

/// Sweeps, or says why not: another run has the lock.
async fn lock_and_sweep(
    config: &SweeperConfig,
    shutdown: impl Future<Output = ()>,
    report: &mut SweepReport,
) -> Result<Option<Sweep>, Error> {
    let database = Database::new(&config.database)?;
    let mut lock: SweepLock = match Turn::take(&config.database, &database).await? {
        Turn::Ours(lock) => lock,
        Turn::Anothers(Holder { connection_id }) => {
            info!(connection_id, "Another sweep is running");
            return Ok(Some(Sweep::AnotherIsRunning));
        }
        Turn::Stalled(Holder { connection_id }) => {
            let what_to_do = "end its process, or KILL this connection at the database";
            error!(connection_id, what_to_do, "Another sweep gets nowhere");
            return Ok(Some(Sweep::AnotherIsStalled { connection_id }));
        }
    };
    let mut work = Work {
        database: &database,
        batch: config.batch,
        lock: &mut lock,
        report,
        shutdown: pin!(shutdown),
        told: Told::default(),
    };
    let swept = work.run().await;
    lock.release().await;
    swept.map(|()| None)
}

/// Whether the future is over, without waiting for it.
async fn is_over(future: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = future => true,
        () = std::future::ready(()) => false,
    }
}

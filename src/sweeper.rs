//! One run of the sweep: expired holds and overdue orders give their units back, in batches of limited size.
//!
//! After a full batch there may be more rows; after a partial batch all is done. Two runs never overlap. The second run
//! finds the lock of the first and ends, or reports that the first makes no progress (`turn`). The sweep rests between
//! its batches, so that it doesn't slow the sales of the same products. Its results don't depend on that, since it
//! locks rows with SKIP LOCKED. A product that can't be swept doesn't stop the sweep of the others (`work`).

pub mod audit;
pub mod purge;
mod turn;
mod work;

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use tracing::{error, info};

use self::{
    turn::{STALLED_AFTER_SECONDS, SweepLock, SweepTurn},
    work::{LeftOut, Work},
};
use crate::{
    config::{Account, SweeperCommand, SweeperConfig},
    db::{Database, named_lock::Holder},
    error::Error,
    spans::{self, SpanIds},
    telemetry,
};

/// Counts what a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Transactions that found something.
    pub batches: u64,
    /// Holds that it expired.
    pub holds_expired: usize,
    /// Orders that it cancelled.
    pub orders_cancelled: usize,
    /// Units that it gave back.
    pub stock_released: i64,
    /// Products that were left out because of a fault in their data.
    pub products_faulty: usize,
    /// Products that were left to the next sweep because others keep their rows locked.
    pub products_locked: usize,
    /// How long the run took.
    pub took: Duration,
}

/// Says how a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// It swept.
    Done(SweepReport),
    /// Another run is working.
    AnotherIsRunning,
    /// Another run has the lock and makes no progress.
    AnotherIsStalled {
        /// The database connection that has the lock.
        connection_id: Option<i64>,
    },
}

/// Says why a sweep doesn't end well although nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unswept {
    /// This number of products was left out because of faults in their data.
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
    /// Says whether all is well. A locked product is no fault: the next sweep tries it again.
    ///
    /// # Errors
    /// [`Unswept`]: products were left out, or another run makes no progress.
    pub fn verdict(&self) -> Result<(), Unswept> {
        match *self {
            Self::Done(SweepReport { products_faulty: products @ 1.., .. }) => Err(Unswept::FaultyProducts(products)),
            Self::AnotherIsStalled { connection_id } => Err(Unswept::AnotherIsStalled { connection_id }),
            Self::Done(_) | Self::AnotherIsRunning => Ok(()),
        }
    }
}

/// Runs the sweep, the audit or the purge that the settings ask for, once.
///
/// # Errors
/// The errors of [`run`], [`audit::run`] and [`purge::run`]; also products that a sweep left out, and faults that an audit found.
pub async fn obey(
    config: &SweeperConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    match config.command {
        SweeperCommand::Sweep => {
            run(config, shutdown).await?.verdict()?;
        }
        SweeperCommand::Audit { page, repair } => {
            audit::run(&config.database, page, repair, shutdown).await?.verdict()?;
        }
        SweeperCommand::Purge { after, dry_run } => {
            purge::run(config, after, dry_run, shutdown).await?;
        }
    }
    Ok(())
}

/// Sweeps once, and logs the report as its last line. A shutdown ends it after the current batch.
///
/// # Errors
/// The errors of [`Database::transaction`]. The batches before the failed one stay committed.
pub async fn run(config: &SweeperConfig, shutdown: impl Future<Output = ()>) -> Result<Sweep, Error> {
    let started = Instant::now();
    let mut report = SweepReport::default();
    let sweep = async {
        let swept = lock_and_sweep(config, shutdown, &mut report).await;
        report.took = started.elapsed();
        swept
    };
    let (swept, span) = traced("sweep", sweep).await;
    match swept {
        Ok(None) => {
            spans::within(span, || log_report(&report, None));
            Ok(Sweep::Done(report))
        }
        Ok(Some(other)) => Ok(other),
        Err(error) => {
            spans::within(span, || log_report(&report, Some(&error)));
            Err(error)
        }
    }
}

/// Does the work of a run in a trace of its own, and sends the trace. Returns the ids of its span, for the report.
///
/// The report is the last line of a run. So it comes after all complaints about a collector.
async fn traced<T>(
    name: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> (Result<T, Error>, Option<SpanIds>) {
    let mut span = spans::job(name);
    let ids = span.ids();
    let done = spans::in_span(ids, work).await;
    if let Err(error) = &done {
        span.fail(error.reason());
    }
    drop(span);
    telemetry::send_spans().await;
    (done, ids)
}

/// Logs the last line of a sweep.
fn log_report(report: &SweepReport, failure: Option<&Error>) {
    let SweepReport { batches, holds_expired, orders_cancelled, stock_released, .. } = *report;
    let SweepReport { products_faulty, products_locked, took, .. } = *report;
    let (error, seconds) = (failure.map(tracing::field::display), took.as_secs_f64());
    // `tracing` fixes the level of a line when it is compiled.
    macro_rules! log {
        ($level:ident, $message:literal) => {
            $level!(
                error,
                batches,
                holds_expired,
                orders_cancelled,
                stock_released,
                products_faulty,
                products_locked,
                seconds,
                $message
            )
        };
    }
    match failure {
        None => log!(info, "Sweep done"),
        Some(_) => log!(error, "Sweep failed"),
    }
}

/// Sweeps. Where another run has the lock, returns what that run does.
async fn lock_and_sweep(
    config: &SweeperConfig,
    shutdown: impl Future<Output = ()>,
    report: &mut SweepReport,
) -> Result<Option<Sweep>, Error> {
    let database = Database::new(&config.database)?;
    let mut lock: SweepLock = match SweepTurn::take(&config.database, &database).await? {
        SweepTurn::Ours(lock) => lock,
        SweepTurn::OfAnother(Holder { connection_id }) => {
            info!(connection_id, "Another sweep is running");
            return Ok(Some(Sweep::AnotherIsRunning));
        }
        SweepTurn::Stalled(Holder { connection_id }) => {
            let what_to_do = "end its process, or KILL this connection at the database";
            error!(connection_id, what_to_do, "Another sweep gets nowhere");
            return Ok(Some(Sweep::AnotherIsStalled { connection_id }));
        }
    };
    // Under the lock: where another sweep works, nothing is asked.
    database.check_rights(Account::Sweeper).await?;
    let mut work = Work {
        database: &database,
        batch: config.batch,
        lock: &mut lock,
        report,
        shutdown: pin!(shutdown),
        left_out: LeftOut::default(),
    };
    let swept = work.run().await;
    lock.release().await;
    swept.map(|()| None)
}

/// Whether a future is ready now.
async fn is_over(future: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = future => true,
        () = std::future::ready(()) => false,
    }
}

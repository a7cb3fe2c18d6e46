//! The sweeper's program, and one run of the sweep: expired holds and overdue orders give their units back, in bounded batches.
//!
//! A full batch means that there is more, a partial one that all was done. Runs don't overlap: the second finds the
//! first's lock and leaves it the work. A sweep gives way to sales of the same products: it rests between its batches.
//! Correctness doesn't depend on that, since rows are locked with SKIP LOCKED.

pub mod audit;

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

use tracing::{Instrument, error, info};

use crate::{
    checkout::{
        cancel_overdue_orders::cancel_overdue_orders,
        expire_holds::{Swept, expire_holds},
    },
    config::{SweeperCommand, SweeperConfig},
    db::{Connection, Database, Failure, Plan, Script, named_lock::NamedLock, sweeper_state},
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
    /// How long it took.
    pub took: Duration,
}

impl SweepReport {
    fn holds(&mut self) -> &mut usize {
        &mut self.holds_expired
    }

    fn orders(&mut self) -> &mut usize {
        &mut self.orders_cancelled
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// It swept.
    Done(SweepReport),
    /// Another run is at work.
    AnotherIsRunning,
}

/// Does what the settings ask for, once, in a trace of its own.
///
/// # Errors
/// Those of [`run`] and [`audit::run`], and what an audit found.
pub async fn obey(
    config: &SweeperConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    match config.command {
        SweeperCommand::Sweep => {
            run(config, shutdown).instrument(job_span("sweep")).await?;
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
    let swept = match lock_and_sweep(config, shutdown, &mut report).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            info!("Another sweep is running");
            return Ok(Sweep::AnotherIsRunning);
        }
        Err(error) => Err(error),
    };
    report.took = started.elapsed();
    let SweepReport { batches, holds_expired, orders_cancelled, stock_released, took } = report;
    let seconds = took.as_secs_f64();
    match swept {
        Ok(()) => {
            info!(batches, holds_expired, orders_cancelled, stock_released, seconds, "Sweep done");
            Ok(Sweep::Done(report))
        }
        Err(error) => {
            error!(%error, batches, holds_expired, orders_cancelled, stock_released, seconds, "Sweep failed");
            Err(error)
        }
    }
}

/// Whether it swept: not while another run holds the lock.
async fn lock_and_sweep(
    config: &SweeperConfig,
    shutdown: impl Future<Output = ()>,
    report: &mut SweepReport,
) -> Result<bool, Error> {
    let Some(lock) = NamedLock::take(&config.database, "sweep", 0).await? else { return Ok(false) };
    let swept = match Database::new(&config.database) {
        Ok(database) => sweep(&database, config.batch, shutdown, report).await,
        Err(error) => Err(error),
    };
    lock.release().await;
    swept.map(|()| true)
}

async fn sweep(
    database: &Database,
    batch: usize,
    shutdown: impl Future<Output = ()>,
    report: &mut SweepReport,
) -> Result<(), Error> {
    tokio::pin!(shutdown);
    let expire = |since| expire_holds(database, since, batch);
    let cancel = |since| cancel_overdue_orders(database, since, batch);
    let stopped = sweep_kind(database, batch, shutdown.as_mut(), report, SweepReport::holds, expire).await?;
    if !stopped {
        sweep_kind(database, batch, shutdown, report, SweepReport::orders, cancel).await?;
    }
    database
        .transaction("finish_sweep", async |_conn: &mut Connection, _attempt| {
            let mut script = Script::default();
            sweeper_state::finish(&mut script);
            Ok::<_, Failure>(Plan { script, value: () })
        })
        .await?;
    Ok(())
}

/// Runs batches of holds or of orders, each from where the one before it ended, until one isn't full or the shutdown
/// comes. Returns whether it was the shutdown.
async fn sweep_kind<R>(
    database: &Database,
    batch: usize,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
    report: &mut SweepReport,
    rows_of_kind: fn(&mut SweepReport) -> &mut usize,
    mut one_batch: impl FnMut(SystemTime) -> R,
) -> Result<bool, Error>
where
    R: Future<Output = Result<Swept, Error>>,
{
    let mut since = SystemTime::UNIX_EPOCH;
    loop {
        let began = Instant::now();
        let swept = one_batch(since).await?;
        report.batches += u64::from(swept.rows > 0);
        report.stock_released += swept.stock_released;
        *rows_of_kind(report) += swept.rows;
        if swept.rows < batch {
            return Ok(false);
        }
        since = swept.reached.unwrap_or(since);
        if gives_way(database, &swept, began.elapsed(), shutdown.as_mut()).await? {
            return Ok(true);
        }
    }
}

/// After a batch that took so long: rests as long again where a product of it is being sold, since whoever buys comes
/// first and what has expired can wait. Returns whether it is time to stop.
async fn gives_way(
    database: &Database,
    swept: &Swept,
    took: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<bool, Error> {
    if !swept.is_being_sold(database).await? {
        return Ok(is_over(shutdown).await);
    }
    tokio::select! {
        () = shutdown => Ok(true),
        () = tokio::time::sleep(took) => Ok(false),
    }
}

/// Whether the future is over, without waiting for it.
async fn is_over(future: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = future => true,
        () = std::future::ready(()) => false,
    }
}

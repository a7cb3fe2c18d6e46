//! `sweeper purge`: deletes what has been over for long, in batches of limited size.
//!
//! | line | level | fields |
//! |---|---|---|
//! | `Product purged` | info | product_id |
//! | `Purge done`, `Purge interrupted`, `Purge failed` | info, warn, error | dry_run, batches, holds, orders, events, exceptions, adjustments, products, kept, seconds |
//!
//! It needs no lock against a second purge: each skips the rows that the other has locked. It may end at any moment,
//! because each batch leaves the books right. After each batch it rests, since buyers come first.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::{Pin, pin},
    time::{Duration, Instant, SystemTime},
};

use tracing::info;

use super::traced;
use crate::{
    checkout::purge::{PurgeRule, Purged, PurgedRows, database_time, ended_products, purge_holds, purge_product},
    config::{Account, SweeperConfig},
    db::{Database, due::SweepPosition, purge::PurgeScope},
    domain::{HoldStatus, ProductId},
    error::Error,
    spans,
};

/// Says how many times as long as a batch took the rest after it lasts.
const REST: u32 = 2;

/// Counts what a purge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Transactions that found something.
    pub batches: u64,
    /// Rows that it deleted, or would have deleted in a dry run.
    pub rows: PurgedRows,
    /// Holds that were old enough and stay, because something that belongs to them is younger, open or locked.
    pub kept: usize,
    /// Whether it has come to the end. A shutdown may come before.
    pub complete: bool,
    /// How long the run took.
    pub took: Duration,
}

/// Purges once, and logs the report as its last line. A shutdown ends it after the current batch.
///
/// # Errors
/// The errors of [`Database::transaction`]. The batches before the failed one stay committed.
pub async fn run(
    config: &SweeperConfig,
    after: Duration,
    dry_run: bool,
    shutdown: impl Future<Output = ()>,
) -> Result<PurgeReport, Error> {
    let started = Instant::now();
    let mut report = PurgeReport::default();
    let purge = async {
        let purged = purge(config, after, dry_run, shutdown, &mut report).await;
        report.took = started.elapsed();
        purged
    };
    let (purged, span) = traced("purge", purge).await;
    spans::within(span, || log_report(&report, dry_run, purged.as_ref().err()));
    purged.map(|()| report)
}

/// Logs the last line of a purge.
fn log_report(report: &PurgeReport, dry_run: bool, failure: Option<&Error>) {
    let PurgeReport { batches, rows, kept, complete, took } = *report;
    let PurgedRows { holds, orders, events, exceptions, adjustments, products } = rows;
    let (error, seconds) = (failure.map(tracing::field::display), took.as_secs_f64());
    // `tracing` fixes the level of a line when it is compiled.
    macro_rules! log {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                error,
                dry_run,
                batches,
                holds,
                orders,
                events,
                exceptions,
                adjustments,
                products,
                kept,
                seconds,
                $message
            )
        };
    }
    match failure {
        Some(_) => log!(error, "Purge failed"),
        None if !complete => log!(warn, "Purge interrupted"),
        None => log!(info, "Purge done"),
    }
}

async fn purge(
    config: &SweeperConfig,
    after: Duration,
    dry_run: bool,
    shutdown: impl Future<Output = ()>,
    report: &mut PurgeReport,
) -> Result<(), Error> {
    let database = Database::new(&config.database)?;
    database.check_rights(Account::Purger).await?;
    let now = database_time(&database).await?;
    let before = now.checked_sub(after).unwrap_or(SystemTime::UNIX_EPOCH);
    let rule = PurgeRule { before, dry_run };
    let mut work = Work {
        database: &database,
        rule,
        batch: config.batch,
        report,
        shutdown: pin!(shutdown),
        kept: BTreeSet::new(),
        adjusted: None,
    };
    let end = work.run().await?;
    report.complete = end == End::Done;
    Ok(())
}

/// Runs a purge.
struct Work<'w, S> {
    database: &'w Database,
    rule: PurgeRule,
    batch: usize,
    report: &'w mut PurgeReport,
    shutdown: Pin<&'w mut S>,
    /// The products of holds that stay.
    kept: BTreeSet<ProductId>,
    /// The last product whose adjustments were counted.
    adjusted: Option<ProductId>,
}

/// Says how a part of a purge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All is done.
    Done,
    /// A shutdown has begun.
    Stopped,
}

impl<S: Future<Output = ()>> Work<'_, S> {
    /// Purges the holds of all products, and then each product whose sale is over.
    async fn run(&mut self) -> Result<End, Error> {
        for status in [HoldStatus::Expired, HoldStatus::Cancelled] {
            if self.purge_holds(PurgeScope::AllProducts(status)).await? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
        let mut after = 0;
        loop {
            let (ended, last) = ended_products(self.database, self.rule, after, self.batch).await?;
            for product_id in ended {
                if self.purge_product(product_id).await? == End::Stopped {
                    return Ok(End::Stopped);
                }
            }
            match last {
                Some(last) => after = last,
                None => return Ok(End::Done),
            }
        }
    }

    async fn purge_product(&mut self, product_id: ProductId) -> Result<End, Error> {
        if self.purge_holds(PurgeScope::Sold(product_id)).await? == End::Stopped {
            return Ok(End::Stopped);
        }
        if self.rule.dry_run && self.kept.contains(&product_id) {
            return Ok(End::Done);
        }
        let began = Instant::now();
        let rows = purge_product(self.database, self.rule, product_id).await?;
        if rows.products > 0 && !self.rule.dry_run {
            info!(product_id = product_id.get(), "Product purged");
        }
        self.count(rows, Some(product_id));
        Ok(self.rest(began.elapsed()).await)
    }

    /// Runs batches, each from the end of the batch before, until a batch isn't full or a shutdown begins.
    async fn purge_holds(&mut self, scope: PurgeScope) -> Result<End, Error> {
        let mut since = SweepPosition::from(SystemTime::UNIX_EPOCH);
        loop {
            let began = Instant::now();
            let Purged { rows, found, reached, kept } =
                purge_holds(self.database, self.rule, scope, since, self.batch).await?;
            let took = began.elapsed();
            self.report.kept += kept.len();
            self.kept.extend(kept);
            self.count(rows, scope.product());
            if self.rest(took).await == End::Stopped {
                return Ok(End::Stopped);
            }
            match reached {
                Some(reached) if found >= self.batch => since = reached,
                Some(_) | None => return Ok(End::Done),
            }
        }
    }

    /// Counts rows, and the adjustments of a product once: a dry run finds them in each batch.
    fn count(&mut self, mut rows: PurgedRows, product_id: Option<ProductId>) {
        if rows.adjustments > 0 && product_id == self.adjusted {
            rows.adjustments = 0;
        } else if rows.adjustments > 0 {
            self.adjusted = product_id;
        }
        let total = &mut self.report.rows;
        self.report.batches += u64::from(rows != PurgedRows::default());
        total.holds += rows.holds;
        total.orders += rows.orders;
        total.events += rows.events;
        total.exceptions += rows.exceptions;
        total.adjustments += rows.adjustments;
        total.products += rows.products;
    }

    /// Rests after a batch, [`REST`] times as long as the batch took.
    async fn rest(&mut self, took: Duration) -> End {
        tokio::select! {
            biased;
            () = self.shutdown.as_mut() => End::Stopped,
            () = tokio::time::sleep(took * REST) => End::Done,
        }
    }
}

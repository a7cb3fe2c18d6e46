//! The work of one sweep: batches over all products, and then each product whose row was locked.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

use rand::seq::SliceRandom;
use tracing::{error, warn};

use super::{SweepReport, is_over, turn::SweepLock};
use crate::{
    checkout::{
        cancel_overdue_orders::cancel_overdue_orders_of,
        expire_holds::expire_holds_of,
        swept::{Fault, Swept},
    },
    db::{
        Connection, Database, Failure, Plan, Script,
        due::{SweepPosition, SweepScope},
        sweeper_state,
    },
    domain::ProductId,
    error::Error,
};

/// Limits the products that a sweep waits for without success, each twice for the time limit of a lock.
///
/// After that it leaves locked products to the next sweep: somebody has locked the whole table, or many of its rows.
const WAITS_IN_VAIN_MAX: usize = 5;

/// Runs a sweep.
pub(super) struct Work<'w, S> {
    pub(super) database: &'w Database,
    pub(super) batch: usize,
    pub(super) lock: &'w mut SweepLock,
    pub(super) report: &'w mut SweepReport,
    pub(super) shutdown: Pin<&'w mut S>,
    pub(super) left_out: LeftOut,
}

/// Holds the products that a sweep has left out, and has logged.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    faulty: BTreeSet<ProductId>,
    locked: BTreeSet<ProductId>,
}

/// Says what is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Holds,
    Orders,
}

/// Says how a part of a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All is done.
    Done,
    /// A shutdown has begun.
    Stopped,
}

impl<S: Future<Output = ()>> Work<'_, S> {
    /// Sweeps until all is done or a shutdown begins, and counts the sweep.
    pub(super) async fn run(&mut self) -> Result<(), Error> {
        if self.sweep(Kind::Holds).await? == End::Done {
            self.sweep(Kind::Orders).await?;
        }
        self.database
            .transaction("finish_sweep", async |_conn: &mut Connection, _attempt| {
                let mut script = Script::default();
                sweeper_state::finish(&mut script);
                Ok::<_, Failure>(Plan { script, value: () })
            })
            .await?;
        Ok(())
    }

    async fn sweep(&mut self, kind: Kind) -> Result<End, Error> {
        let mut busy = BTreeSet::new();
        if self.sweep_rows(kind, SweepScope::AllProducts, &mut busy).await? == End::Stopped {
            return Ok(End::Stopped);
        }
        let mut busy: Vec<ProductId> = busy.difference(&self.left_out.faulty).copied().collect();
        // Where many rows are locked, the next sweep should try other products first.
        busy.shuffle(&mut rand::rng());
        for product_id in busy {
            if self.sweep_busy(kind, product_id).await? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Done)
    }

    /// Sweeps one product whose row was locked, and waits for that row.
    ///
    /// During its sale the row is nearly always locked, but never for long.
    async fn sweep_busy(&mut self, kind: Kind, product_id: ProductId) -> Result<End, Error> {
        if self.left_out.locked.len() >= WAITS_IN_VAIN_MAX {
            self.leave_out_locked(product_id, false);
            return Ok(End::Done);
        }
        match self.sweep_rows(kind, SweepScope::Product(product_id), &mut BTreeSet::new()).await {
            Err(Error::LockContention) => self.leave_out_locked(product_id, true),
            // The batch has only this product, so a guard that refuses it has refused this product.
            Err(Error::Internal(text)) => self.leave_out_faulty(product_id, &Fault::Refused(text)),
            other => return other,
        }
        Ok(End::Done)
    }

    /// Runs batches, each from the end of the batch before, until a batch isn't full or a shutdown begins.
    async fn sweep_rows(
        &mut self,
        kind: Kind,
        scope: SweepScope,
        busy: &mut BTreeSet<ProductId>,
    ) -> Result<End, Error> {
        let mut since = SweepPosition::from(SystemTime::UNIX_EPOCH);
        loop {
            self.lock.keep().await?;
            let began = Instant::now();
            let swept = match kind {
                Kind::Holds => expire_holds_of(self.database, scope, since, self.batch).await?,
                Kind::Orders => cancel_overdue_orders_of(self.database, scope, since, self.batch).await?,
            };
            let took = began.elapsed();
            self.count(kind, &swept);
            self.lock.keep().await?;
            busy.extend(&swept.look.busy);
            match swept.look.reached {
                Some(reached) if swept.look.found >= self.batch => since = reached,
                Some(_) | None => return Ok(End::Done),
            }
            if self.gives_way(&swept, took).await? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
    }

    fn count(&mut self, kind: Kind, swept: &Swept) {
        self.report.batches += u64::from(swept.rows > 0);
        self.report.stock_released += swept.stock_released;
        match kind {
            Kind::Holds => self.report.holds_expired += swept.rows,
            Kind::Orders => self.report.orders_cancelled += swept.rows,
        }
        for (product_id, fault) in &swept.look.faults {
            self.leave_out_faulty(*product_id, fault);
        }
    }

    /// Logs a faulty product, once in a sweep.
    fn leave_out_faulty(&mut self, product_id: ProductId, fault: &Fault) {
        if self.left_out.faulty.insert(product_id) {
            let (why, what_to_do) = (fault.to_string(), fault.what_to_do());
            error!(product_id = product_id.get(), why, what_to_do, "Product left out of the sweep");
            self.report.products_faulty += 1;
        }
    }

    /// Logs a product whose row stayed locked, once in a sweep, and whether the sweep has waited for it.
    fn leave_out_locked(&mut self, product_id: ProductId, waited: bool) {
        if self.left_out.locked.insert(product_id) {
            let why = "somebody keeps its row locked: the next sweep tries again";
            warn!(product_id = product_id.get(), why, waited, "Product left to the next sweep");
            self.report.products_locked += 1;
        }
    }

    /// Rests for `took`, the time of the batch, where a product of the batch is being sold.
    ///
    /// Buyers come first, and expired holds can wait.
    async fn gives_way(&mut self, swept: &Swept, took: Duration) -> Result<End, Error> {
        let stopped = if swept.is_being_sold(self.database).await? {
            tokio::select! {
                () = self.shutdown.as_mut() => true,
                () = tokio::time::sleep(took) => false,
            }
        } else {
            is_over(self.shutdown.as_mut()).await
        };
        Ok(if stopped { End::Stopped } else { End::Done })
    }
}

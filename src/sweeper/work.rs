//! The work of one sweep: batches over all products, and then those products by themselves that were busy meanwhile.

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
        due::{Of, Place},
        sweeper_state,
    },
    domain::ProductId,
    error::Error,
};

/// Products that a sweep waits for in vain at the most, each for as long as a lock is waited for, twice. Beyond that it
/// leaves what is locked to the next sweep: somebody has locked the whole table, or many rows of it.
const WAITS_IN_VAIN_MAX: usize = 5;

/// A sweep at work.
pub(super) struct Work<'w, S> {
    pub(super) database: &'w Database,
    pub(super) batch: usize,
    pub(super) lock: &'w mut SweepLock,
    pub(super) report: &'w mut SweepReport,
    pub(super) shutdown: Pin<&'w mut S>,
    /// Products that were told as faulty, and as locked.
    pub(super) told: Told,
}

/// The products that a sweep has told as left out.
#[derive(Debug, Default)]
pub(super) struct Told {
    faulty: BTreeSet<ProductId>,
    locked: BTreeSet<ProductId>,
}

/// What is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Holds,
    Orders,
}

/// How a part of a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing was left to be done.
    Done,
    /// The shutdown came.
    Stopped,
}

impl<S: Future<Output = ()>> Work<'_, S> {
    /// Sweeps until all is done or the shutdown comes, and counts the sweep.
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
        if self.sweep_rows(kind, Of::AllProducts, &mut busy).await? == End::Stopped {
            return Ok(End::Stopped);
        }
        let mut busy: Vec<ProductId> = busy.difference(&self.told.faulty).copied().collect();
        // Where many rows are locked, other products should have their turn in the next sweep.
        busy.shuffle(&mut rand::rng());
        for product_id in busy {
            if self.sweep_busy(kind, product_id).await? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Done)
    }

    /// Sweeps one product whose row was locked, and waits for that row: a product that is being sold is nearly always
    /// locked, and never for long.
    async fn sweep_busy(&mut self, kind: Kind, product_id: ProductId) -> Result<End, Error> {
        if self.told.locked.len() >= WAITS_IN_VAIN_MAX {
            self.tell_locked(product_id, false);
            return Ok(End::Done);
        }
        match self.sweep_rows(kind, Of::Product(product_id), &mut BTreeSet::new()).await {
            Err(Error::LockContention) => self.tell_locked(product_id, true),
            // What a guard refuses here is this product's own: nothing else is part of the batch.
            Err(Error::Internal(text)) => self.tell_fault(product_id, &Fault::Refused(text)),
            other => return other,
        }
        Ok(End::Done)
    }

    /// Runs batches, each from where the one before it ended, until one isn't full or the shutdown comes.
    async fn sweep_rows(&mut self, kind: Kind, of: Of, busy: &mut BTreeSet<ProductId>) -> Result<End, Error> {
        let mut since = Place::from(SystemTime::UNIX_EPOCH);
        loop {
            self.lock.keep().await?;
            let began = Instant::now();
            let swept = match kind {
                Kind::Holds => expire_holds_of(self.database, of, since, self.batch).await?,
                Kind::Orders => cancel_overdue_orders_of(self.database, of, since, self.batch).await?,
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
            self.tell_fault(*product_id, fault);
        }
    }

    /// Tells a faulty product, once a sweep.
    fn tell_fault(&mut self, product_id: ProductId, fault: &Fault) {
        if self.told.faulty.insert(product_id) {
            let (why, what_to_do) = (fault.to_string(), fault.what_to_do());
            error!(product_id = product_id.get(), why, what_to_do, "Product left out of the sweep");
            self.report.products_faulty += 1;
        }
    }

    /// Tells a product whose row stayed locked, once a sweep, and whether it was waited for.
    fn tell_locked(&mut self, product_id: ProductId, waited: bool) {
        if self.told.locked.insert(product_id) {
            let why = "somebody keeps its row locked: the next sweep tries again";
            warn!(product_id = product_id.get(), why, waited, "Product left to the next sweep");
            self.report.products_locked += 1;
        }
    }

    /// After a batch that took so long: rests as long again where a product of it is being sold, since whoever buys comes
    /// first and what has expired can wait.
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

//! Takes back in the background what reads find past its time. So only the first read has to add it up.
//!
//! product FOR UPDATE SKIP LOCKED · its expired holds, then its overdue orders, SKIP LOCKED · orders, holds, stock and
//! COMMIT as one script. It waits for no lock. If it waited for a product that somebody has locked for long, the calls
//! would have one connection less. A product that is being sold is free between two batches, so it is tried several
//! times.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{ORDERS_FOUND_MIN, TakenBack};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, products},
    domain::{LapsedUnits, ProductId},
    error::Error,
};

/// Products whose units are taken back at the same moment. The others are left to their next read.
const AT_ONCE_MAX: usize = 2;
/// How often a locked product is tried.
const TRIES_MAX: u32 = 20;
/// How long after the last try it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How long a product is left alone after something was taken back. If its holds run out all the time, its sales lose
/// at most one transaction a second.
const REST: Duration = Duration::from_secs(1);
/// How long a product is left alone after nothing was taken back: its rows are locked, or the database is away.
const REST_AFTER_NOTHING: Duration = Duration::from_secs(10);
/// Products whose rest is remembered.
const RESTS_MAX: u64 = 10_000;

/// Takes units back in the background. Clones share the work.
#[derive(Debug, Clone)]
pub(in crate::checkout) struct TakeBacks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    at_work: Mutex<BTreeSet<ProductId>>,
    /// Until when a product is left alone.
    rests: Cache<ProductId, Instant>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl TakeBacks {
    pub(in crate::checkout) fn new(database: Database) -> Self {
        let rests = Cache::builder().max_capacity(RESTS_MAX).time_to_live(REST_AFTER_NOTHING).build();
        let (at_work, closing, tasks) = (Mutex::default(), CancellationToken::new(), TaskTracker::new());
        Self { shared: Arc::new(Shared { database, at_work, rests, closing, tasks }) }
    }

    /// Starts to take back what a read has found of a product.
    ///
    /// It doesn't start if that is under way or was tried a moment ago. A few overdue orders are no reason to start
    /// either, because they may still be paid.
    pub(in crate::checkout) fn found(&self, product_id: ProductId, lapsed: LapsedUnits) {
        let may_be_many_orders = usize::try_from(lapsed.ordered).is_ok_and(|units| units >= ORDERS_FOUND_MIN);
        if lapsed.held <= 0 && !may_be_many_orders {
            return;
        }
        if let Some(take_back) = self.shared.begin(product_id) {
            self.shared.tasks.spawn(take_back.run());
        }
    }

    /// Begins nothing more. Returns when the take-backs at work have ended, each after its transaction.
    pub(in crate::checkout) async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    fn begin(self: &Arc<Self>, product_id: ProductId) -> Option<TakeBack> {
        let mut at_work = self.at_work();
        let rests = self.rests.get(&product_id).is_some_and(|until| Instant::now() < until);
        if rests || self.closing.is_cancelled() || at_work.len() >= AT_ONCE_MAX || !at_work.insert(product_id) {
            return None;
        }
        Some(TakeBack { shared: Arc::clone(self), product_id, rest: REST_AFTER_NOTHING })
    }

    /// Locks the set. It is consistent between any two statements, so a panic elsewhere doesn't spoil it.
    fn at_work(&self) -> MutexGuard<'_, BTreeSet<ProductId>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes back units of one product. If it is dropped, for example by a panic, it leaves its place and the product
/// rests.
struct TakeBack {
    shared: Arc<Shared>,
    product_id: ProductId,
    rest: Duration,
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        self.shared.rests.insert(self.product_id, Instant::now() + self.rest);
        self.shared.at_work().remove(&self.product_id);
    }
}

impl TakeBack {
    async fn run(mut self) {
        if let Err(error) = self.take_back().await {
            warn!(product_id = self.product_id.get(), %error, "Stock past its time was found and not released");
        }
    }

    /// Takes back in as many transactions as it takes. After each it rests as long as that one took, so buyers come
    /// first.
    async fn take_back(&mut self) -> Result<(), Error> {
        let mut tries = 0;
        while !self.shared.closing.is_cancelled() {
            let began = Instant::now();
            let pause = match self.transact().await? {
                None => {
                    tries += 1;
                    if tries >= TRIES_MAX {
                        return Ok(());
                    }
                    TRY_AGAIN_AFTER
                }
                Some(taken_back) => {
                    taken_back.log();
                    if taken_back.rows() > 0 {
                        self.rest = REST;
                    }
                    if !taken_back.leaves_some() {
                        return Ok(());
                    }
                    tries = 0;
                    began.elapsed()
                }
            };
            tokio::select! {
                () = self.shared.closing.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Takes back as much as one transaction may. `None`: somebody else has the product locked.
    async fn transact(&self) -> Result<Option<TakenBack>, Error> {
        let product_id = self.product_id;
        let Committed { value, .. } = self
            .shared
            .database
            .transaction("take_back", async |conn: &mut Connection, _attempt| {
                let mut script = Script::default();
                let Some(product) = products::lock_free(&mut *conn, [product_id]).await?.remove(&product_id) else {
                    return Ok(Plan { script, value: None });
                };
                let taken_back = TakenBack::lock_found(conn, product_id).await?;
                if !product.has_room_for(taken_back.units()) {
                    // The product's stock is wrong. The sweep reports it.
                    return Ok(Plan { script, value: Some(TakenBack::default()) });
                }
                if taken_back.rows() > 0 {
                    taken_back.write(&mut script);
                    products::give_back(&mut script, product_id, taken_back.units());
                }
                Ok::<_, Failure>(Plan { script, value: Some(taken_back) })
            })
            .await?;
        Ok(value)
    }
}

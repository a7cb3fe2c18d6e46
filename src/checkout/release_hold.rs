//! ReleaseHold: gives a hold's units back at once.
//!
//! holds FOR UPDATE SKIP LOCKED by id · the orders of those that are used · products FOR UPDATE SKIP LOCKED by id ·
//! holds, products and COMMIT as one script. A command whose hold or product somebody else has locked waits for that
//! row alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::info;

use super::{
    Checkout,
    busy::{self, ProductLocks},
    product_waits::ProductWaits,
};
use crate::{
    db::{
        Connection, Database, Failure, Plan, Script,
        holds::{self, StoredHold},
        orders::{self, StoredOrder},
        products,
    },
    domain::{Hold, HoldId, HoldStatus, ProductId, Refusal, hold::Release},
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcome, Outcomes},
};

/// Shows a hold that is over, and says what this call did.
#[derive(Debug, Clone)]
pub struct ReleasedHold {
    /// The hold as it is now.
    pub hold: Hold,
    /// What this call did.
    pub release: Release,
}

/// Runs ReleaseHold commands.
pub struct ReleaseHoldBatch {
    database: Database,
    waits: ProductWaits,
}

impl ReleaseHoldBatch {
    pub(super) fn new(database: Database, waits: ProductWaits) -> Self {
        Self { database, waits }
    }
}

impl Batch for ReleaseHoldBatch {
    type Command = HoldId;
    type Answer = ReleasedHold;

    const NAME: &'static str = "release_hold";

    async fn run(&self, calls: Calls<'_, HoldId>) -> Result<Outcomes<ReleasedHold>, Error> {
        let locks = ProductLocks::new(calls.busy(), &self.waits);
        let released = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("release_hold", async |conn: &mut Connection, _attempt| {
                let mut rows = HoldsAndProducts::lock(conn, &locks, calls.commands()).await?;
                let outcomes: Outcomes<ReleasedHold> = calls.commands().iter().map(|id| rows.release(*id)).collect();
                Ok::<_, Failure>(Plan { script: script(&outcomes), value: outcomes })
            })
            .await;
        if let Err(Error::LockContention) = released {
            locks.remember_stuck(&self.waits);
            if calls.busy().is_none() {
                // A row of one of the commands is locked, and the others need not wait for it.
                return Ok(calls.commands().iter().map(|id| Outcome::Busy(busy::hold(*id))).collect());
            }
        }
        Ok(released?.value)
    }

    fn record(&self, _command: &HoldId, result: &Result<ReleasedHold, Error>, _took: Duration) {
        let Ok(ReleasedHold { hold, release }) = result else { return };
        let (hold_id, product_id, qty) = (hold.id.get(), hold.product_id.get(), hold.qty.get());
        match release {
            Release::Cancel => info!(hold_id, product_id, qty, "Hold released"),
            Release::Expire => info!(hold_id, product_id, qty, "Hold expired and stock released"),
            Release::AlreadyOver => {}
        }
    }
}

impl Checkout {
    /// Gives a hold's units back.
    ///
    /// # Errors
    /// `NotFound`, `Refused` (used), or temporary.
    pub async fn release_hold(&self, id: HoldId) -> Result<Hold, Error> {
        Ok(self.release_hold.submit(LaneKey::WholeUseCase, id).await?.hold)
    }
}

/// Keeps the rows of a batch, as its releases change them one after the other.
struct HoldsAndProducts {
    /// The holds that this transaction has locked.
    holds: BTreeMap<HoldId, StoredHold>,
    /// The holds that somebody else has locked.
    busy: BTreeSet<HoldId>,
    /// The orders of used holds.
    orders: BTreeMap<HoldId, StoredOrder>,
    /// The products that units go back to, as far as this transaction has locked them.
    products: BTreeSet<ProductId>,
}

impl HoldsAndProducts {
    async fn lock(conn: &mut Connection, locks: &ProductLocks, ids: &[HoldId]) -> Result<Self, Failure> {
        let (holds, busy) = holds::lock_or_busy(&mut *conn, ids.iter().copied().collect()).await?;
        let used = holds.values().filter(|stored| stored.hold.status == HoldStatus::Used);
        let orders = orders::of_holds(&mut *conn, used.map(|stored| stored.hold.id)).await?;
        let active = holds.values().filter(|stored| stored.hold.status == HoldStatus::Active);
        let products = locks.lock(conn, active.map(|stored| stored.hold.product_id).collect()).await?;
        Ok(Self { holds, busy, orders, products })
    }

    /// Decides one release, on what the releases before it left.
    fn release(&mut self, id: HoldId) -> Outcome<ReleasedHold> {
        if self.busy.contains(&id) {
            return Outcome::Busy(busy::hold(id));
        }
        let Some(StoredHold { hold, now, .. }) = self.holds.get_mut(&id) else {
            return Outcome::Done(Err(Missing::Hold(id).into()));
        };
        let Some(release) = hold.release(*now) else {
            return Outcome::Done(Err(match self.orders.get(&id) {
                Some(stored) => Refusal::HoldUsed { hold_id: id, order_id: stored.order.id }.into(),
                None => Error::Internal(format!("hold {id} is used, but has no order")),
            }));
        };
        let status = match release {
            Release::Cancel => HoldStatus::Cancelled,
            Release::Expire => HoldStatus::Expired,
            Release::AlreadyOver => return Outcome::Done(Ok(ReleasedHold { hold: hold.clone(), release })),
        };
        if !self.products.contains(&hold.product_id) {
            return Outcome::Busy(busy::product(hold.product_id));
        }
        hold.status = status;
        Outcome::Done(Ok(ReleasedHold { hold: hold.clone(), release }))
    }
}

fn script(outcomes: &Outcomes<ReleasedHold>) -> Script {
    let (mut cancelled, mut expired) = (Vec::new(), Vec::new());
    let mut units: BTreeMap<ProductId, i64> = BTreeMap::new();
    for outcome in outcomes {
        let Outcome::Done(Ok(ReleasedHold { hold, release })) = outcome else { continue };
        match release {
            Release::Cancel => cancelled.push(hold.id),
            Release::Expire => expired.push(hold.id),
            Release::AlreadyOver => continue,
        }
        *units.entry(hold.product_id).or_default() += hold.qty.units();
    }
    let mut script = Script::default();
    holds::set_status(&mut script, &cancelled, HoldStatus::Active, HoldStatus::Cancelled);
    holds::set_status(&mut script, &expired, HoldStatus::Active, HoldStatus::Expired);
    for (product_id, units) in units {
        products::give_back(&mut script, product_id, units);
    }
    script
}

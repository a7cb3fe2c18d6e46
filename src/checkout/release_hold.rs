//! ReleaseHold: gives a hold's units back at once.
//!
//! holds FOR UPDATE by id · the orders of those that are used · holds, products by id and COMMIT as one script.

use std::collections::{BTreeMap, BTreeSet};

use tracing::info;

use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        holds::{self, StoredHold},
        orders::{self, StoredOrder},
        products,
    },
    domain::{Hold, HoldId, HoldStatus, ProductId, Refusal, hold::Release},
    error::{Error, Missing},
    lane::{Batch, Results},
};

/// A hold that is over, and what this call had to do with it.
#[derive(Debug, Clone)]
pub struct ReleasedHold {
    /// The hold as it is now.
    pub hold: Hold,
    /// What this call did.
    pub release: Release,
}

/// The batch of ReleaseHold.
pub struct ReleaseHolds {
    database: Database,
}

impl ReleaseHolds {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for ReleaseHolds {
    type Command = HoldId;
    type Answer = ReleasedHold;

    async fn run(&self, commands: &[HoldId]) -> Result<Results<ReleasedHold>, Error> {
        let Committed { value: mut results, unsettled, .. } = self
            .database
            .transaction("release_hold", async |conn: &mut Connection, _attempt| {
                let ids: BTreeSet<HoldId> = commands.iter().copied().collect();
                let mut holds = holds::lock(conn, ids).await?;
                let used = holds.values().filter(|stored| stored.hold.status == HoldStatus::Used);
                let orders = orders::of_holds(conn, used.map(|stored| stored.hold.id)).await?;
                let results: Results<ReleasedHold> =
                    commands.iter().map(|id| release(&mut holds, &orders, *id)).collect();
                Ok::<_, Failure>(Plan { script: script(&results), value: results })
            })
            .await?;
        for (index, result) in results.iter_mut().enumerate() {
            let runs = unsettled.iter().filter_map(|run: &Results<ReleasedHold>| run[index].as_ref().ok());
            let Ok(ReleasedHold { hold, release: release @ Release::AlreadyOver }) = result else { continue };
            let own = runs.into_iter().find(|run| run.release != Release::AlreadyOver && run.hold == *hold);
            *release = own.map_or(*release, |own| own.release);
        }
        Ok(results)
    }

    fn record(&self, _command: &HoldId, result: &Result<ReleasedHold, Error>) {
        let Ok(ReleasedHold { hold, release }) = result else { return };
        let (hold_id, product_id, qty) = (hold.id.get(), hold.product_id.get(), hold.qty.get());
        match release {
            Release::Cancel => info!(hold_id, product_id, qty, "Hold released"),
            Release::Expire => info!(hold_id, product_id, qty, "Hold expired and stock released"),
            Release::AlreadyOver => {}
        }
    }
}

/// Decides one release on what those before it left.
fn release(
    holds: &mut BTreeMap<HoldId, StoredHold>,
    orders: &BTreeMap<HoldId, StoredOrder>,
    id: HoldId,
) -> Result<ReleasedHold, Error> {
    let Some(StoredHold { hold, now, .. }) = holds.get_mut(&id) else { return Err(Missing::Hold(id).into()) };
    let Some(release) = hold.release(*now) else {
        return Err(match orders.get(&id) {
            Some(stored) => Refusal::HoldUsed { hold_id: id, order_id: stored.order.id }.into(),
            None => Error::Internal(format!("hold {id} is used, but has no order")),
        });
    };
    match release {
        Release::Cancel => hold.status = HoldStatus::Cancelled,
        Release::Expire => hold.status = HoldStatus::Expired,
        Release::AlreadyOver => {}
    }
    Ok(ReleasedHold { hold: hold.clone(), release })
}

fn script(results: &Results<ReleasedHold>) -> Script {
    let (mut cancelled, mut expired) = (Vec::new(), Vec::new());
    let mut units: BTreeMap<ProductId, i64> = BTreeMap::new();
    for ReleasedHold { hold, release } in results.iter().flatten() {
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

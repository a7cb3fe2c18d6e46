//! One batch of a sweep: expires holds whose time is over, and gives their units back.
//!
//! holds and products FOR UPDATE SKIP LOCKED · holds, products by id (one update for each), totals and COMMIT as one
//! script. A batch of one product only reads the product, and waits for its row in the script.

use std::{collections::BTreeMap, time::SystemTime};

use super::{
    swept::{Look, Swept},
    take_back::TakenBack,
};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        due::{SweepPosition, SweepScope},
        holds::{self, ExpiredHold},
        products, sweeper_state,
    },
    domain::{HoldId, HoldStatus, ProductId},
    error::Error,
};

/// Expires up to `limit` holds that nobody else has locked. Their time was over at `since` or later.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn expire_holds(database: &Database, since: SystemTime, limit: usize) -> Result<Swept, Error> {
    expire_holds_of(database, SweepScope::AllProducts, since.into(), limit).await
}

/// Does the same as [`expire_holds`], for all products or for one, and begins after a place.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn expire_holds_of(
    database: &Database,
    scope: SweepScope,
    since: SweepPosition,
    limit: usize,
) -> Result<Swept, Error> {
    let Committed { value: (taken_back, look), .. } = database
        .transaction("expire_holds", async |conn: &mut Connection, _attempt| {
            let mut expired = holds::lock_expired(&mut *conn, scope, since, limit).await?;
            let reached = expired.last().map(ExpiredHold::place);
            let mut look = Look { found: expired.len(), reached, ..Look::default() };
            let units = expired.iter().map(|hold| (hold.product_id(), hold.qty()));
            let ready = look.ready(conn, scope, units).await?;
            expired.retain(|hold| ready.contains(&hold.product_id()));
            Ok::<_, Failure>(Plan { script: script(&expired), value: (TakenBack::of_holds(expired), look) })
        })
        .await?;
    Ok(Swept::of(&taken_back, look))
}

fn script(expired: &[ExpiredHold]) -> Script {
    let mut script = Script::default();
    if expired.is_empty() {
        return script;
    }
    let ids: Vec<HoldId> = expired.iter().map(ExpiredHold::id).collect();
    holds::set_status(&mut script, &ids, HoldStatus::Active, HoldStatus::Expired);
    let mut units: BTreeMap<ProductId, i64> = BTreeMap::new();
    for hold in expired {
        *units.entry(hold.product_id()).or_default() += hold.qty().units();
    }
    for (product_id, units) in &units {
        products::give_back(&mut script, *product_id, *units);
    }
    sweeper_state::add(&mut script, expired.len(), 0, units.values().sum());
    script
}

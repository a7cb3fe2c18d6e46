//! One batch of a sweep: expired holds give their units back.
//!
//! holds FOR UPDATE SKIP LOCKED · holds, products by id (one summed update each), totals and COMMIT as one script.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::take_back::TakenBack;
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        holds::{self, ExpiredHold},
        products, sweeper_state,
    },
    domain::{HoldId, HoldStatus, ProductId},
    error::Error,
};

/// What a batch of a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds expired, or orders cancelled.
    pub rows: usize,
    /// Units given back.
    pub stock_released: i64,
    /// The products that they went back to.
    pub products: BTreeSet<ProductId>,
    /// From when on there may be more; `None`: nothing was found.
    pub reached: Option<SystemTime>,
}

impl Swept {
    /// Logs what a batch gave back, and sums it up.
    pub(super) fn of(given_back: &TakenBack) -> Self {
        given_back.log();
        Self {
            rows: given_back.rows(),
            stock_released: given_back.units(),
            products: given_back.products().collect(),
            reached: given_back.reached(),
        }
    }

    /// Whether one of its products is being sold at this moment.
    ///
    /// # Errors
    /// Those of [`Database::read`].
    pub async fn is_being_sold(&self, database: &Database) -> Result<bool, Error> {
        if self.products.is_empty() {
            return Ok(false);
        }
        database
            .read("is_being_sold", async |conn: &mut Connection, _attempt| {
                holds::any_just_made(conn, &self.products).await
            })
            .await
    }
}

/// Expires up to `limit` holds whose time is over since `since` at the earliest and that nobody else has locked.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn expire_holds(database: &Database, since: SystemTime, limit: usize) -> Result<Swept, Error> {
    let Committed { value, .. } = database
        .transaction("expire_holds", async |conn: &mut Connection, _attempt| {
            let expired = holds::lock_expired(conn, since, limit).await?;
            Ok::<_, Failure>(Plan { script: script(&expired), value: TakenBack::of_holds(expired) })
        })
        .await?;
    Ok(Swept::of(&value))
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

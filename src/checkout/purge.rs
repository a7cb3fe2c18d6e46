//! One batch of a purge: deletes what is over for good, and keeps the books right in every commit.
//!
//! | what goes | when |
//! |---|---|
//! | an expired or cancelled hold without an order, of any product | its `expires_at` is older than the limit |
//! | a cancelled hold with its cancelled order, the order's payment events and its resolved exceptions | each of them is older than the limit |
//! | a used hold with its paid order, the order's events and exceptions | the same, and the product's sale is over |
//! | a product with its stock adjustments | its sale is over, and nothing else of it is left |
//!
//! A sale is over where `ends_at` is older than the limit, no hold is active, no order pending, no exception unresolved,
//! and no hold, order, exception or adjustment is younger than the limit. A product without `ends_at` is never over.
//!
//! A hold goes with all that belongs to it or not at all, in one transaction: the audit finds each of these rows by the
//! others. Where anything of it is younger, open, locked by somebody else, or contradicts the rest, all of it stays.
//!
//! Paid orders are part of the stock's sum. So the transaction that deletes them takes their units out of the product's
//! `total_stock`, and `available_stock` stays what it was. The product's adjustments would contradict the new total.
//! They go in the first such transaction, all of them. A purge that ends in the middle leaves a product with fewer
//! sold units and right books, and the next purge goes on.
//!
//! Operator actions stay: they are the record of who did what.
//!
//! product FOR UPDATE SKIP LOCKED (for paid orders) · holds, orders, events, exceptions FOR UPDATE SKIP LOCKED · deletions
//! and COMMIT as one script.

use std::{collections::BTreeMap, time::SystemTime};

use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        due::SweepPosition,
        purge::{self, Belongings, OldEvent, OldException, OldHold, PurgeScope},
    },
    domain::{Dossier, HoldId, HoldStatus, OrderId, ProductId},
    error::Error,
};

/// Says how old rows have to be, and whether they are only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeRule {
    /// The limit: what was over before this time may go.
    pub before: SystemTime,
    /// Counts, and deletes nothing.
    pub dry_run: bool,
}

/// Counts the rows that a purge deletes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgedRows {
    /// Holds.
    pub holds: usize,
    /// Orders.
    pub orders: usize,
    /// Payment events.
    pub events: usize,
    /// Payment exceptions.
    pub exceptions: usize,
    /// Stock adjustments.
    pub adjustments: usize,
    /// Products.
    pub products: usize,
}

/// Says what a batch of a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// What it deleted, or would delete in a dry run.
    pub rows: PurgedRows,
    /// Holds found, also those that stay. If they are fewer than the batch may have, there are no more.
    pub found: usize,
    /// The place of the last hold found.
    pub reached: Option<SweepPosition>,
    /// The products of holds that stay.
    pub kept: Vec<ProductId>,
}

/// Returns the database's time.
///
/// # Errors
/// Those of [`Database::read`].
pub async fn database_time(database: &Database) -> Result<SystemTime, Error> {
    database.read("purge", async |conn: &mut Connection, _attempt| purge::now(conn).await).await
}

/// Lists products whose sale has ended long ago, of the next `limit` products after the id `after`.
///
/// Also returns the last id that it looked at. `None` means that there are no more products.
///
/// # Errors
/// Those of [`Database::read`].
pub async fn ended_products(
    database: &Database,
    rule: PurgeRule,
    after: i64,
    limit: usize,
) -> Result<(Vec<ProductId>, Option<i64>), Error> {
    database
        .read("purge", async |conn: &mut Connection, _attempt| {
            purge::ended_products(conn, after, rule.before, limit).await
        })
        .await
}

/// Deletes up to `limit` holds after a place, with all that belongs to them.
///
/// For the used holds of a product it finds none unless the product's sale is over.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn purge_holds(
    database: &Database,
    rule: PurgeRule,
    scope: PurgeScope,
    since: SweepPosition,
    limit: usize,
) -> Result<Purged, Error> {
    let Committed { value, .. } = database
        .transaction("purge_holds", async |conn: &mut Connection, _attempt| {
            if let PurgeScope::Sold(id) = scope
                && !lock_over(&mut *conn, id, rule.before).await?
            {
                return Ok(Plan { script: Script::default(), value: Purged::default() });
            }
            let holds = purge::lock_holds(&mut *conn, scope, since, rule.before, limit).await?;
            if holds.is_empty() {
                return Ok(Plan { script: Script::default(), value: Purged::default() });
            }
            let belongings = purge::lock_belongings(&mut *conn, &holds).await?;
            let going = Going::new(&holds, &belongings, rule.before);
            let adjustments = match scope {
                PurgeScope::Sold(id) if !going.holds.is_empty() => purge::adjustments(&mut *conn, id).await?,
                PurgeScope::Sold(_) | PurgeScope::AllProducts(_) => Vec::new(),
            };
            let value = Purged {
                rows: PurgedRows { adjustments: adjustments.len(), ..going.count() },
                found: holds.len(),
                reached: holds.last().map(OldHold::place),
                kept: going.kept.clone(),
            };
            let mut script = Script::default();
            if !rule.dry_run {
                purge::delete_adjustments(&mut script, &adjustments);
                going.delete(&mut script);
            }
            Ok::<_, Failure>(Plan { script, value })
        })
        .await?;
    Ok(value)
}

/// Deletes a product whose sale is over and of which nothing else is left, with its stock adjustments.
///
/// A dry run, which has left the rest in its place, doesn't look for it.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn purge_product(database: &Database, rule: PurgeRule, id: ProductId) -> Result<PurgedRows, Error> {
    let Committed { value, .. } = database
        .transaction("purge_product", async |conn: &mut Connection, _attempt| {
            let mut script = Script::default();
            if !lock_over(&mut *conn, id, rule.before).await?
                || !rule.dry_run && purge::has_rows(&mut *conn, id).await?
            {
                return Ok(Plan { script, value: PurgedRows::default() });
            }
            let adjustments = purge::adjustments(&mut *conn, id).await?;
            if !rule.dry_run {
                purge::delete_adjustments(&mut script, &adjustments);
                purge::delete_product(&mut script, id);
            }
            let value = PurgedRows { adjustments: adjustments.len(), products: 1, ..PurgedRows::default() };
            Ok::<_, Failure>(Plan { script, value })
        })
        .await?;
    Ok(value)
}

/// Locks a product, unless somebody else has. Returns whether its sale is over.
async fn lock_over(conn: &mut Connection, id: ProductId, before: SystemTime) -> Result<bool, Failure> {
    Ok(purge::lock_ended_product(&mut *conn, id, before).await? && !purge::has_open_rows(conn, id, before).await?)
}

/// Holds what a batch deletes.
#[derive(Debug, Default)]
struct Going<'b> {
    holds: Vec<HoldId>,
    orders: Vec<OrderId>,
    events: Vec<&'b OldEvent>,
    exceptions: Vec<&'b OldException>,
    /// The units of paid orders, by product.
    sold: BTreeMap<ProductId, i64>,
    /// The products of holds that stay.
    kept: Vec<ProductId>,
}

impl<'b> Going<'b> {
    fn new(holds: &[OldHold], found: &'b Belongings, before: SystemTime) -> Self {
        let mut events: BTreeMap<OrderId, Vec<&OldEvent>> = BTreeMap::new();
        for event in &found.events {
            events.entry(event.order_id).or_default().push(event);
        }
        let mut exceptions: BTreeMap<OrderId, Vec<&OldException>> = BTreeMap::new();
        for exception in &found.exceptions {
            exceptions.entry(exception.order_id).or_default().push(exception);
        }
        let mut going = Self::default();
        for hold in holds {
            let order = found.orders.get(&hold.id);
            let events = order.and_then(|order| events.remove(&order.id)).unwrap_or_default();
            let exceptions = order.and_then(|order| exceptions.remove(&order.id)).unwrap_or_default();
            let dossier = Dossier {
                hold: hold.status,
                expires_at: hold.expires_at(),
                order: order.map(|order| (order.status, order.settled_at())),
                events: events.iter().map(|event| event.taken_at()).collect(),
                exceptions: exceptions.iter().map(|exception| exception.resolved_at()).collect(),
            };
            let is_busy =
                found.busy_holds.contains(&hold.id) || order.is_some_and(|order| found.busy_orders.contains(&order.id));
            if is_busy || !dossier.is_over_since(before) {
                going.kept.push(hold.product_id);
                continue;
            }
            going.holds.push(hold.id);
            going.orders.extend(order.map(|order| order.id));
            going.events.extend(events);
            going.exceptions.extend(exceptions);
            if hold.status == HoldStatus::Used {
                *going.sold.entry(hold.product_id).or_default() += hold.qty.units();
            }
        }
        going
    }

    fn count(&self) -> PurgedRows {
        PurgedRows {
            holds: self.holds.len(),
            orders: self.orders.len(),
            events: self.events.len(),
            exceptions: self.exceptions.len(),
            ..PurgedRows::default()
        }
    }

    fn delete(&self, script: &mut Script) {
        purge::delete(script, &self.holds, &self.orders, &self.events, &self.exceptions);
        for (product_id, units) in &self.sold {
            purge::take_out_sold(script, *product_id, *units);
        }
    }
}

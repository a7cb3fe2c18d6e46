//! One batch of a sweep: cancels pending orders past payment_due_at, and gives their units back.
//!
//! orders, holds and products FOR UPDATE SKIP LOCKED · orders, holds, products by id, totals and COMMIT as one script.
//! A batch of one product only reads the product, and waits for its row in the script. If a payment was handled before,
//! its order is no longer pending and is left alone.

use std::time::SystemTime;

use super::{
    cancel_orders::cancel_orders,
    swept::{Fault, Look, Swept},
    take_back::TakenBack,
};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        due::{SweepPosition, SweepScope},
        holds, orders, sweeper_state,
    },
    domain::{HoldStatus, Order, SettledBy},
    error::Error,
};

/// Cancels up to `limit` overdue orders that nobody else has locked. They became overdue at `since` or later.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn cancel_overdue_orders(database: &Database, since: SystemTime, limit: usize) -> Result<Swept, Error> {
    cancel_overdue_orders_of(database, SweepScope::AllProducts, since.into(), limit).await
}

/// Does the same as [`cancel_overdue_orders`], for all products or for one, and begins after a place.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn cancel_overdue_orders_of(
    database: &Database,
    scope: SweepScope,
    since: SweepPosition,
    limit: usize,
) -> Result<Swept, Error> {
    let Committed { value: (taken_back, look), .. } = database
        .transaction("cancel_overdue_orders", async |conn: &mut Connection, _attempt| {
            let overdue = orders::lock_overdue(&mut *conn, scope, since, limit).await?;
            let reached = overdue.last().and_then(orders::place);
            let mut look = Look { found: overdue.len(), reached, ..Look::default() };
            let mut overdue = with_used_holds(&mut *conn, overdue, &mut look).await?;
            let units = overdue.iter().map(|order| (order.product_id, order.qty));
            let ready = look.ready(conn, scope, units).await?;
            overdue.retain(|order| ready.contains(&order.product_id));
            Ok::<_, Failure>(Plan { script: script(&overdue), value: (TakenBack::of_orders(overdue), look) })
        })
        .await?;
    Ok(Swept::of(&taken_back, look))
}

/// Locks the orders' holds, and returns the orders whose hold is used.
///
/// An order whose hold somebody else has locked is left to the next sweep. An order whose hold isn't used, or is
/// missing, is a fault of its product.
async fn with_used_holds(conn: &mut Connection, orders: Vec<Order>, look: &mut Look) -> Result<Vec<Order>, Failure> {
    if orders.is_empty() {
        return Ok(orders);
    }
    let free = holds::lock_free(&mut *conn, orders.iter().map(|order| order.hold_id)).await?;
    let (mut used, mut not_used, mut not_free) = (Vec::new(), Vec::new(), Vec::new());
    for order in orders {
        match free.get(&order.hold_id).map(|stored| stored.hold.status) {
            Some(HoldStatus::Used) => used.push(order),
            Some(status) => not_used.push((order, Some(status))),
            None => not_free.push(order),
        }
    }
    if !not_free.is_empty() {
        let there = holds::read(conn, not_free.iter().map(|order| order.hold_id)).await?;
        let missing = not_free.into_iter().filter(|order| !there.contains_key(&order.hold_id));
        not_used.extend(missing.map(|order| (order, None)));
    }
    for (Order { id: order_id, hold_id, product_id, .. }, status) in not_used {
        look.faults.entry(product_id).or_insert(Fault::HoldNotUsed { order_id, hold_id, status });
    }
    Ok(used)
}

fn script(overdue: &[Order]) -> Script {
    let mut script = Script::default();
    if overdue.is_empty() {
        return script;
    }
    cancel_orders(&mut script, overdue.iter(), SettledBy::Overdue);
    let units = overdue.iter().map(|order| order.qty.units()).sum();
    sweeper_state::add(&mut script, 0, overdue.len(), units);
    script
}

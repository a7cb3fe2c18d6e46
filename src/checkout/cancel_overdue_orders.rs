//! One batch of a sweep: pending orders past payment_due_at are cancelled, and their units go back.
//!
//! orders FOR UPDATE SKIP LOCKED · orders, holds, products by id, totals and COMMIT as one script. A payment that is
//! handled before counts: its order is no longer pending.

use super::{expire_holds::Swept, handle_payment_webhook::cancel};
use crate::{
    db::{Connection, Database, Failure, Plan, Script, orders, sweeper_state},
    error::Error,
};

/// Cancels up to `limit` overdue orders that nobody else has locked.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn cancel_overdue_orders(database: &Database, limit: usize) -> Result<Swept, Error> {
    let (overdue, _) = database
        .transaction("cancel_overdue_orders", async |conn: &mut Connection, _attempt| {
            let overdue = orders::lock_overdue(conn, limit).await?;
            let mut script = Script::default();
            if !overdue.is_empty() {
                cancel(&mut script, overdue.iter());
                let units = overdue.iter().map(|order| order.qty.units()).sum();
                sweeper_state::add(&mut script, 0, overdue.len(), units);
            }
            Ok::<_, Failure>(Plan { script, value: overdue })
        })
        .await?;
    overdue.iter().for_each(super::log_overdue);
    let stock_released = overdue.iter().map(|order| order.qty.units()).sum();
    Ok(Swept { rows: overdue.len(), stock_released })
}

//! One batch of a sweep: pending orders past payment_due_at are cancelled, and their units go back.
//!
//! orders FOR UPDATE SKIP LOCKED · orders, holds, products by id, totals and COMMIT as one script. A payment that is
//! handled before counts: its order is no longer pending.

use std::time::SystemTime;

use super::{expire_holds::Swept, handle_payment_webhook::cancel, take_back::TakenBack};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, orders, sweeper_state},
    error::Error,
};

/// Cancels up to `limit` orders that are overdue since `since` at the earliest and that nobody else has locked.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn cancel_overdue_orders(database: &Database, since: SystemTime, limit: usize) -> Result<Swept, Error> {
    let Committed { value, .. } = database
        .transaction("cancel_overdue_orders", async |conn: &mut Connection, _attempt| {
            let overdue = orders::lock_overdue(conn, since, limit).await?;
            let mut script = Script::default();
            if !overdue.is_empty() {
                cancel(&mut script, overdue.iter());
                let units = overdue.iter().map(|order| order.qty.units()).sum();
                sweeper_state::add(&mut script, 0, overdue.len(), units);
            }
            Ok::<_, Failure>(Plan { script, value: TakenBack::of_orders(overdue) })
        })
        .await?;
    Ok(Swept::of(&value))
}

//! One repair of an audit: a product's available_stock is set to what its holds and orders leave.
//!
//! product FOR UPDATE · its sums · product and COMMIT as one script. Whatever takes units or gives them back waits for the
//! product meanwhile. CreateOrder and successful payments don't: they move units from one sum to another in one commit,
//! so all sums have to be of one snapshot, which is one statement.

use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, products, sale_stats},
    domain::{ProductId, SaleStats},
    error::Error,
};

/// What became of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It was repaired: the units before, and what is available now.
    Repaired(SaleStats, i64),
    /// There is nothing to repair any more.
    Unneeded,
    /// What is available doesn't follow from the other numbers: more is held and ordered than there is.
    Refused,
}

/// Repairs a product's available_stock.
///
/// # Errors
/// Those of [`Database::transaction`].
pub async fn repair_available_stock(database: &Database, product_id: ProductId) -> Result<Repair, Error> {
    let Committed { value, .. } = database
        .transaction("repair_available_stock", async |conn: &mut Connection, _attempt| {
            let mut script = Script::default();
            let locked = products::lock(conn, product_id).await?;
            let stats = match locked {
                Some(_) => sale_stats::read(conn, product_id).await?,
                None => None,
            };
            let repair = stats.map_or(Repair::Unneeded, |books| decide(books.stored));
            if let Repair::Repaired(before, available) = repair {
                products::correct_available(&mut script, product_id, before.available_stock, available);
            }
            Ok::<_, Failure>(Plan { script, value: repair })
        })
        .await?;
    Ok(value)
}

fn decide(stats: SaleStats) -> Repair {
    match stats.derived_available_stock() {
        Some(available) if available == stats.available_stock => Repair::Unneeded,
        Some(available) => Repair::Repaired(stats, available),
        None => Repair::Refused,
    }
}

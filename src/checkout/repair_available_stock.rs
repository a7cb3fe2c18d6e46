//! One repair of an audit: sets a product's available_stock to what its holds and orders leave.
//!
//! product FOR UPDATE · its sums · product and COMMIT as one script. Whatever takes units or gives them back waits for
//! the product meanwhile. CreateOrder and successful payments don't wait: they move units from one sum to another in
//! one commit. So all sums have to be of one snapshot, which is one statement.

use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, products, sale_stats},
    domain::{ProductId, SaleStats},
    error::Error,
};

/// Says what became of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The product was repaired. Here are its units before, and the units that are available now.
    Repaired(SaleStats, i64),
    /// There is nothing to repair any more.
    Unneeded,
    /// Nothing was done: more units are held and ordered than there are, so no number would be right.
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

//! One repair of an audit: a product's available_stock is set to what its holds and orders leave.
//!
//! product FOR UPDATE · its sums, in one statement · product and COMMIT as one script. Whatever takes units or gives them
//! back waits for the product meanwhile, about a second for a million holds.

use crate::{
    db::{Connection, Database, Failure, Plan, Script, audit, products},
    domain::{ProductId, Stock},
    error::Error,
};

/// What became of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It was repaired: the units before, and what is available now.
    Repaired(Stock, i64),
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
    let (repair, _) = database
        .transaction("repair_available_stock", async |conn: &mut Connection, _attempt| {
            let mut script = Script::default();
            let locked = products::lock(conn, product_id).await?;
            let stock = match locked {
                Some(_) => audit::stock(conn, product_id).await?,
                None => None,
            };
            let repair = stock.map_or(Repair::Unneeded, decide);
            if let Repair::Repaired(before, available) = repair {
                products::correct_available(&mut script, product_id, before.available, available);
            }
            Ok::<_, Failure>(Plan { script, value: repair })
        })
        .await?;
    Ok(repair)
}

fn decide(stock: Stock) -> Repair {
    match stock.derived_available() {
        Some(available) if available == stock.available => Repair::Unneeded,
        Some(available) => Repair::Repaired(stock, available),
        None => Repair::Refused,
    }
}

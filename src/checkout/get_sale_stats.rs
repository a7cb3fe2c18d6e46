//! GetSaleStats: reads the books of one product, as of one moment.
//!
//! They are read after the call arrived, by one read for all calls that were waiting then. A hold or order past its
//! time is counted as what it will become. A read that finds any starts a take-back of them in the background.

use super::{Checkout, take_back::TakeBacks};
use crate::{
    db::{
        Connection, Database,
        sale_stats::{self, Books},
    },
    domain::{ProductId, SaleStats},
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcome, Outcomes},
};

/// Runs GetSaleStats commands for one product.
pub struct GetSaleStatsBatch {
    database: Database,
    take_backs: TakeBacks,
}

impl GetSaleStatsBatch {
    pub(super) fn new(database: Database, take_backs: TakeBacks) -> Self {
        Self { database, take_backs }
    }
}

impl Batch for GetSaleStatsBatch {
    type Command = ProductId;
    type Answer = SaleStats;

    const NAME: &'static str = "get_sale_stats";

    async fn run(&self, calls: Calls<'_, ProductId>) -> Result<Outcomes<SaleStats>, Error> {
        let commands = calls.commands();
        let Some(&id) = commands.first() else { return Ok(Vec::new()) };
        let books = self
            .database
            .read("get_sale_stats", async |conn: &mut Connection, _attempt| sale_stats::read(conn, id).await)
            .await?;
        let result = match books {
            Some(Books { stored, lapsed, lapsed_holds }) => {
                self.take_backs.found(id, lapsed);
                Ok(stored.answered(lapsed, lapsed_holds))
            }
            None => Err(Missing::Product(id).into()),
        };
        Ok(vec![Outcome::Done(result); commands.len()])
    }
}

impl Checkout {
    /// Reads a product's books, after the call arrived.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_sale_stats(&self, id: ProductId) -> Result<SaleStats, Error> {
        self.get_sale_stats.submit(LaneKey::Product(id.get()), id).await
    }
}

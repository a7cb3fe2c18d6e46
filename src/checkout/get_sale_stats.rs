//! GetSaleStats: the books of one product at one moment, read after the call arrived, by one read for all calls that were
//! waiting then. What is past its time counts as what it will be, and a read that finds any has it taken back.

use super::take_back::TakeBacks;
use crate::{
    db::{
        Connection, Database,
        sale_stats::{self, Books},
    },
    domain::{ProductId, SaleStats},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcome, Outcomes},
};

/// The batch of GetSaleStats: calls for one product.
pub struct GetSaleStats {
    database: Database,
    take_backs: TakeBacks,
}

impl GetSaleStats {
    pub(super) fn new(database: Database, take_backs: TakeBacks) -> Self {
        Self { database, take_backs }
    }
}

impl Batch for GetSaleStats {
    type Command = ProductId;
    type Answer = SaleStats;

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

    fn record(&self, _command: &ProductId, _result: &Result<SaleStats, Error>) {}
}

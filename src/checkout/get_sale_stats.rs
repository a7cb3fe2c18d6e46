//! GetSaleStats: the books of one product at one moment, read after the call arrived, by one read for all calls that were
//! waiting then.

use crate::{
    db::{Connection, Database, sale_stats},
    domain::{ProductId, SaleStats},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcome, Outcomes},
};

/// The batch of GetSaleStats: calls for one product.
pub struct GetSaleStats {
    database: Database,
}

impl GetSaleStats {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for GetSaleStats {
    type Command = ProductId;
    type Answer = SaleStats;

    async fn run(&self, calls: Calls<'_, ProductId>) -> Result<Outcomes<SaleStats>, Error> {
        let commands = calls.commands();
        let Some(&id) = commands.first() else { return Ok(Vec::new()) };
        let stats = self
            .database
            .read("get_sale_stats", async |conn: &mut Connection, _attempt| sale_stats::read(conn, id).await)
            .await?;
        let result = stats.ok_or_else(|| Error::from(Missing::Product(id)));
        Ok(vec![Outcome::Done(result); commands.len()])
    }

    fn record(&self, _command: &ProductId, _result: &Result<SaleStats, Error>) {}
}

//! GetOrder: reads an order.

use crate::{
    db::{Connection, Database, orders},
    domain::{Order, OrderId},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes},
};

/// The batch of GetOrder.
pub struct GetOrders {
    database: Database,
}

impl GetOrders {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for GetOrders {
    type Command = OrderId;
    type Answer = Order;

    async fn run(&self, calls: Calls<'_, OrderId>) -> Result<Outcomes<Order>, Error> {
        let commands = calls.commands();
        let orders = self
            .database
            .read("get_order", async |conn: &mut Connection, _attempt| {
                orders::read(conn, commands.iter().copied()).await
            })
            .await?;
        let result = |id: &OrderId| orders.get(id).cloned().ok_or_else(|| Missing::Order(*id).into());
        Ok(commands.iter().map(|id| result(id).into()).collect())
    }

    fn record(&self, _command: &OrderId, _result: &Result<Order, Error>) {}
}

//! GetOrder: reads an order.

use super::Checkout;
use crate::{
    db::{Connection, Database, orders},
    domain::{Order, OrderId},
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcomes},
};

/// Runs GetOrder commands.
pub struct GetOrderBatch {
    database: Database,
}

impl GetOrderBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for GetOrderBatch {
    type Command = OrderId;
    type Answer = Order;

    const NAME: &'static str = "get_order";

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
}

impl Checkout {
    /// Reads an order.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_order(&self, id: OrderId) -> Result<Order, Error> {
        self.get_order.submit(LaneKey::WholeUseCase, id).await
    }
}

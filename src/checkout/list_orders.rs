//! ListOrders: lists the orders of a product, newest first, or those that were settled, oldest first.

use std::time::SystemTime;

use super::{
    Checkout,
    page::{Page, PagePosition, PageRequest},
};
use crate::{
    db::{
        Connection, Database, Failure,
        orders::{self, ListedOrder, OrdersBy},
    },
    domain::{BuyerId, Order, OrderStatus, ProductId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of an order beside its texts, at most.
const ENTRY_BYTES: usize = 160;

/// Asks for orders of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrders {
    /// The product.
    pub product_id: ProductId,
    /// Only orders of this buyer.
    pub buyer_id: Option<BuyerId>,
    /// Only orders in this state.
    pub status: Option<OrderStatus>,
    /// Only pending orders whose payment is overdue.
    pub overdue: bool,
    /// Only orders that were settled after this time.
    pub settled_after: Option<SystemTime>,
    /// Which page.
    pub page: PageRequest,
}

impl ListOrders {
    /// Reads up to `limit` orders by the index that finds them. What it can't tell, [`Self::wants`] leaves out.
    async fn read(&self, conn: &mut Connection, limit: usize) -> Result<Vec<ListedOrder>, Failure> {
        let after = self.page.after.map(|PagePosition { at, id }| (at, id));
        if let Some(time) = self.settled_after {
            let after = after.map_or((time, i64::MAX), |(at, id)| (at.unwrap_or(time), id));
            return orders::list_settled(conn, self.product_id, after, limit).await;
        }
        let by = match (&self.buyer_id, self.overdue) {
            (Some(buyer_id), _) => OrdersBy::Buyer(buyer_id),
            (None, true) => OrdersBy::Overdue,
            (None, false) => OrdersBy::Status(self.status),
        };
        orders::list(conn, self.product_id, by, after, limit).await
    }

    fn wants(&self, ListedOrder { order, now, at: _ }: &ListedOrder) -> bool {
        let is_settled = order.status != OrderStatus::Pending;
        let of_buyer = self.buyer_id.is_none() || self.buyer_id == order.buyer_id;
        let in_state = self.status.is_none_or(|status| status == order.status);
        let is_overdue = order.status == OrderStatus::Pending && order.payment_due_at.is_some_and(|at| at < *now);
        of_buyer && in_state && (!self.overdue || is_overdue) && (self.settled_after.is_none() || is_settled)
    }
}

/// Runs ListOrders commands, one by one.
pub struct ListOrdersBatch {
    database: Database,
}

impl ListOrdersBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl RunOne for ListOrdersBatch {
    type Command = ListOrders;
    type Answer = Page<Order>;

    const NAME: &'static str = "list_orders";

    async fn run_one(&self, command: &ListOrders, _calls: Calls<'_, ListOrders>) -> Result<Page<Order>, Error> {
        let PageRequest { size, after: _ } = command.page;
        let orders = self
            .database
            .read("list_orders", async |conn: &mut Connection, _attempt| command.read(conn, size + 1).await)
            .await?;
        let bytes = |listed: &ListedOrder| {
            listed.order.buyer_id.as_ref().map_or(0, |buyer| buyer.as_bytes().len()) + ENTRY_BYTES
        };
        let position = |listed: &ListedOrder| PagePosition { at: listed.at, id: listed.order.id.get() };
        let page = Page::of(orders, size, bytes, position).keeping(|listed| command.wants(listed));
        Ok(Page { entries: page.entries.into_iter().map(|listed| listed.order).collect(), next: page.next })
    }
}

impl Checkout {
    /// Lists the orders of a product, newest first, or those that were settled, oldest first.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_orders(&self, command: ListOrders) -> Result<Page<Order>, Error> {
        self.list_orders.submit(LaneKey::WholeUseCase, command).await
    }
}

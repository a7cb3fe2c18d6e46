//! CancelOrder: cancels a pending order, and gives its units back at once.
//!
//! orders FOR UPDATE SKIP LOCKED by id · the holds and products of those that are pending, FOR UPDATE SKIP LOCKED by id ·
//! orders, holds, products and COMMIT as one script. A command whose order, hold or product somebody else has locked
//! waits for that row alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::info;

use super::{
    Checkout,
    busy::{self, ProductLocks},
    cancel_orders::cancel_orders,
    product_waits::ProductWaits,
};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, holds, orders},
    domain::{HoldId, Order, OrderId, OrderStatus, ProductId, SettledBy, order::Cancellation},
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcome, Outcomes},
    metrics::{self, OrderState},
};

/// Shows a cancelled order, and says whether this call cancelled it.
#[derive(Debug, Clone)]
pub struct CancelledOrder {
    /// The order as it is now.
    pub order: Order,
    /// Whether this call cancelled it.
    pub first_time: bool,
}

/// Runs CancelOrder commands.
pub struct CancelOrderBatch {
    database: Database,
    waits: ProductWaits,
}

impl CancelOrderBatch {
    pub(super) fn new(database: Database, waits: ProductWaits) -> Self {
        Self { database, waits }
    }
}

impl Batch for CancelOrderBatch {
    type Command = OrderId;
    type Answer = CancelledOrder;

    const NAME: &'static str = "cancel_order";

    async fn run(&self, calls: Calls<'_, OrderId>) -> Result<Outcomes<CancelledOrder>, Error> {
        let locks = ProductLocks::new(calls.busy(), &self.waits);
        let cancelled = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("cancel_order", async |conn: &mut Connection, _attempt| {
                let mut rows = OrdersToCancel::lock(conn, &locks, calls.commands()).await?;
                let outcomes: Outcomes<CancelledOrder> = calls.commands().iter().map(|id| rows.cancel(*id)).collect();
                Ok::<_, Failure>(Plan { script: script(&outcomes), value: outcomes })
            })
            .await;
        if let Err(Error::LockContention) = cancelled {
            locks.remember_stuck(&self.waits);
            if calls.busy().is_none() {
                // A row of one of the commands is locked, and the others need not wait for it.
                return Ok(calls.commands().iter().map(|id| Outcome::Busy(busy::order(*id))).collect());
            }
        }
        let Committed { value: mut outcomes, script_time, .. } = cancelled?;
        for outcome in &mut outcomes {
            if let Outcome::Done(Ok(CancelledOrder { order, first_time: true })) = outcome {
                order.settled_at = script_time;
            }
        }
        Ok(outcomes)
    }

    fn record(&self, _command: &OrderId, result: &Result<CancelledOrder, Error>, _took: Duration) {
        let Ok(CancelledOrder { order, first_time: true }) = result else { return };
        let (order_id, product_id, qty) = (order.id.get(), order.product_id.get(), order.qty.get());
        info!(order_id, product_id, qty, "Order cancelled");
        metrics::count_order(OrderState::Cancelled, 1);
    }
}

impl Checkout {
    /// Cancels an order.
    ///
    /// # Errors
    /// `NotFound`, `Refused` (paid), or temporary.
    pub async fn cancel_order(&self, id: OrderId) -> Result<Order, Error> {
        Ok(self.cancel_order.submit(LaneKey::WholeUseCase, id).await?.order)
    }
}

/// Keeps the rows of a batch, as its cancellations change them one after the other.
struct OrdersToCancel {
    /// The orders that this transaction has locked.
    orders: BTreeMap<OrderId, Order>,
    /// The orders that somebody else has locked.
    busy: BTreeSet<OrderId>,
    /// The holds of pending orders, as far as this transaction has locked them.
    holds: BTreeSet<HoldId>,
    /// The products that units go back to, as far as this transaction has locked them.
    products: BTreeSet<ProductId>,
}

impl OrdersToCancel {
    async fn lock(conn: &mut Connection, locks: &ProductLocks, ids: &[OrderId]) -> Result<Self, Failure> {
        let (orders, busy) = orders::lock_or_busy(&mut *conn, ids.iter().copied().collect()).await?;
        let pending: Vec<&Order> = orders.values().filter(|order| order.status == OrderStatus::Pending).collect();
        let (holds, products) = if pending.is_empty() {
            Default::default()
        } else {
            let holds = holds::lock_free(&mut *conn, pending.iter().map(|order| order.hold_id)).await?;
            let products = locks.lock(conn, pending.iter().map(|order| order.product_id).collect()).await?;
            (holds.into_keys().collect(), products)
        };
        Ok(Self { orders, busy, holds, products })
    }

    /// Decides one cancellation, on what the cancellations before it left.
    fn cancel(&mut self, id: OrderId) -> Outcome<CancelledOrder> {
        if self.busy.contains(&id) {
            return Outcome::Busy(busy::order(id));
        }
        let Some(order) = self.orders.get_mut(&id) else {
            return Outcome::Done(Err(Missing::Order(id).into()));
        };
        match order.cancellation() {
            Ok(Cancellation::AlreadyCancelled) => {
                return Outcome::Done(Ok(CancelledOrder { order: order.clone(), first_time: false }));
            }
            Ok(Cancellation::Cancel) => {}
            Err(refusal) => return Outcome::Done(Err(refusal.into())),
        }
        if !self.holds.contains(&order.hold_id) {
            return Outcome::Busy(busy::hold(order.hold_id));
        }
        if !self.products.contains(&order.product_id) {
            return Outcome::Busy(busy::product(order.product_id));
        }
        order.status = OrderStatus::Cancelled;
        Outcome::Done(Ok(CancelledOrder { order: order.clone(), first_time: true }))
    }
}

fn script(outcomes: &Outcomes<CancelledOrder>) -> Script {
    let cancelled = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Done(Ok(CancelledOrder { order, first_time: true })) => Some(order),
        Outcome::Done(_) | Outcome::Busy(_) => None,
    });
    let mut script = Script::default();
    let cancelled: Vec<&Order> = cancelled.collect();
    if !cancelled.is_empty() {
        cancel_orders(&mut script, cancelled.into_iter(), SettledBy::Caller);
        script.ask_for_time();
    }
    script
}

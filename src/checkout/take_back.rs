//! Takes back units of a product that is short of stock: its expired holds, and then its overdue orders.
//!
//! CreateHold and AdjustStock do so. If the sweeper is dead, rows stay untidy, but no sale is lost. Units that reads
//! find are taken back [`in_background`].
//!
//! The product is already locked, against the order of locks (order, hold, product). So nothing here may wait, and
//! every lock is taken with SKIP LOCKED. The orders' holds are no exception: a release or an order in the making may
//! have one locked and wait for the product. An order whose hold is locked is left out.

mod in_background;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use in_background::TakeBacks;
use tracing::info;

use super::cancel_orders::cancel_orders_but_for_stock;
use crate::{
    db::{
        Connection, Failure, Script,
        holds::{self, ExpiredHold},
        orders,
    },
    domain::{BuyerId, HoldId, HoldStatus, Order, ProductId, SettledBy},
    metrics::{self, OrderState},
};

/// Rows that one transaction takes back at least, as far as there are any. So the next one is not short again.
const ROWS_MIN: i64 = 100;
/// Holds, and also orders, that one transaction takes back at most, so that the product isn't locked for long. The next
/// transaction takes back more.
const ROWS_MAX: i64 = 10_000;
/// Expired holds of the buyers who ask for new ones that one transaction takes back at most.
pub(super) const PAST_MAX: usize = 10_000;

/// Holds, and also orders, that one transaction takes back at most because a read has found them. No caller waits for
/// them, and buyers wait for the product meanwhile.
const ROWS_FOUND_MAX: usize = 1000;
/// Overdue orders that a read has to find before they are taken back. Adding up fewer costs a read nearly nothing, and
/// each may still be paid. The sweep cancels them, or a hold that needs their units.
const ORDERS_FOUND_MIN: usize = 100;

/// Keeps the holds and orders whose units go back. All of them are locked.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    expired: Vec<ExpiredHold>,
    overdue: Vec<Overdue>,
    cut_off: bool,
}

#[derive(Debug)]
struct Overdue {
    order: Order,
    buyer_id: Option<BuyerId>,
}

impl TakenBack {
    /// Locks rows that give back `units_short` units, as far as there are any and one transaction may.
    ///
    /// `before` are expired holds that this transaction has already locked; they come on top. Orders are locked only
    /// where no expired hold is left, because an order may still be paid.
    pub(super) async fn lock(
        conn: &mut Connection,
        product_id: ProductId,
        units_short: i64,
        before: Vec<ExpiredHold>,
    ) -> Result<Self, Failure> {
        let mut taken_back = Self { cut_off: before.len() >= PAST_MAX, expired: before, ..Self::default() };
        if units_short <= 0 {
            return Ok(taken_back);
        }
        // The holds of `before` are found again, and must not go back twice.
        let units_before = taken_back.units();
        let mut ids: BTreeSet<HoldId> = taken_back.expired.iter().map(ExpiredHold::id).collect();
        let limit = rows(units_short) + ids.len();
        let found = holds::lock_expired_of(&mut *conn, product_id, limit).await?;
        taken_back.cut_off |= found.len() >= limit;
        taken_back.expired.extend(found.into_iter().filter(|hold| ids.insert(hold.id())));
        let units_short = units_short + units_before;
        let still_short = units_short - taken_back.units();
        if still_short > 0 && !taken_back.cut_off {
            let limit = rows(still_short);
            let orders = orders::lock_overdue_of(&mut *conn, product_id, limit).await?;
            taken_back.cut_off = orders.len() >= limit;
            taken_back.overdue = with_free_holds(conn, orders).await?;
        }
        Ok(taken_back)
    }

    /// Locks what a read has found: expired holds, and where none is left, overdue orders if there are many of them.
    async fn lock_found(conn: &mut Connection, product_id: ProductId) -> Result<Self, Failure> {
        let expired = holds::lock_expired_of(&mut *conn, product_id, ROWS_FOUND_MAX).await?;
        let mut taken_back = Self { cut_off: expired.len() >= ROWS_FOUND_MAX, expired, ..Self::default() };
        if !taken_back.cut_off {
            let orders = orders::lock_overdue_of(&mut *conn, product_id, ROWS_FOUND_MAX).await?;
            if orders.len() >= ORDERS_FOUND_MIN {
                taken_back.cut_off = orders.len() >= ROWS_FOUND_MAX;
                taken_back.overdue = with_free_holds(conn, orders).await?;
            }
        }
        Ok(taken_back)
    }

    /// Takes the holds that a sweep has locked.
    pub(super) fn of_holds(expired: Vec<ExpiredHold>) -> Self {
        Self { expired, ..Self::default() }
    }

    /// Takes the orders that a sweep has locked.
    pub(super) fn of_orders(orders: Vec<Order>) -> Self {
        let overdue = orders.into_iter().map(|order| Overdue { order, buyer_id: None }).collect();
        Self { overdue, ..Self::default() }
    }

    /// Counts the holds and orders.
    pub(super) fn rows(&self) -> usize {
        self.expired.len() + self.overdue.len()
    }

    /// Tells whether another transaction may take back more.
    pub(super) fn leaves_some(&self) -> bool {
        self.cut_off && self.units() > 0
    }

    /// Counts the units that go back.
    pub(super) fn units(&self) -> i64 {
        let expired = self.expired.iter().map(|hold| hold.qty().units());
        let overdue = self.overdue.iter().map(|overdue| overdue.order.qty.units());
        expired.chain(overdue).sum()
    }

    /// Names the products whose units go back.
    pub(super) fn products(&self) -> impl Iterator<Item = ProductId> {
        let expired = self.expired.iter().map(ExpiredHold::product_id);
        expired.chain(self.overdue.iter().map(|overdue| overdue.order.product_id))
    }

    /// Lowers the units of buyers by those of their orders that go back.
    ///
    /// Expired holds lower nothing. They didn't count before. If another transaction had one locked a moment ago, it
    /// still counts for this batch.
    pub(super) fn lower(&self, units_by_buyer: &mut BTreeMap<BuyerId, i64>) {
        for Overdue { order, buyer_id } in &self.overdue {
            if let Some(units) = buyer_id.as_ref().and_then(|buyer_id| units_by_buyer.get_mut(buyer_id)) {
                *units -= order.qty.units();
            }
        }
    }

    /// Writes the new status of the holds and orders. The caller writes the product's stock.
    pub(super) fn write(&self, script: &mut Script) {
        cancel_orders_but_for_stock(script, self.overdue.iter().map(|overdue| &overdue.order), SettledBy::Overdue);
        let expired: Vec<HoldId> = self.expired.iter().map(ExpiredHold::id).collect();
        holds::set_status(script, &expired, HoldStatus::Active, HoldStatus::Expired);
    }

    /// Logs the holds and orders, once they are committed.
    pub(super) fn log(&self) {
        self.expired.iter().for_each(log_expired);
        self.overdue.iter().for_each(|overdue| log_overdue(&overdue.order));
        metrics::count_order(OrderState::Cancelled, self.overdue.len());
    }
}

/// Logs a hold whose units went back because its time was over.
fn log_expired(hold: &ExpiredHold) {
    info!(
        hold_id = hold.id().get(),
        product_id = hold.product_id().get(),
        qty = hold.qty().get(),
        "Hold expired and stock released"
    );
}

/// Logs an order whose units went back because nobody paid in time.
fn log_overdue(order: &Order) {
    info!(
        order_id = order.id.get(),
        product_id = order.product_id.get(),
        qty = order.qty.get(),
        "Order cancelled: payment overdue"
    );
}

fn rows(units: i64) -> usize {
    usize::try_from(units.clamp(ROWS_MIN, ROWS_MAX)).unwrap_or(0)
}

/// Leaves out orders whose hold somebody else has locked, or isn't used. Such an order would fail the whole script.
async fn with_free_holds(conn: &mut Connection, orders: Vec<Order>) -> Result<Vec<Overdue>, Failure> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let mut holds = holds::lock_free(conn, orders.iter().map(|order| order.hold_id)).await?;
    let with_hold = |order: Order| {
        let stored = holds.remove(&order.hold_id).filter(|stored| stored.hold.status == HoldStatus::Used)?;
        Some(Overdue { order, buyer_id: stored.hold.buyer_id })
    };
    Ok(orders.into_iter().filter_map(with_hold).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OrderId, OrderStatus, Quantity};

    fn overdue(id: i64, qty: i32, buyer_id: Option<&str>) -> Overdue {
        let order = Order {
            id: OrderId::stored(id),
            hold_id: HoldId::stored(id),
            product_id: ProductId::stored(1),
            qty: Quantity::stored(qty),
            amount_cents: 0,
            status: OrderStatus::Pending,
            payment_due_at: None,
            created_at: std::time::SystemTime::UNIX_EPOCH,
            buyer_id: None,
            settled_at: None,
            payment_id: None,
        };
        Overdue { order, buyer_id: buyer_id.map(|id| BuyerId::parse(id).unwrap()) }
    }

    /// A buyer whose order is taken back has fewer units already in the batch that takes it back.
    #[test]
    fn what_goes_back_no_longer_counts_for_its_buyers() {
        let buyer = |id| BuyerId::parse(id).unwrap();
        let orders = vec![overdue(1, 2, Some("ann")), overdue(2, 1, Some("ann")), overdue(3, 5, None)];
        let taken_back = TakenBack { overdue: orders, ..TakenBack::default() };
        let mut units_by_buyer = BTreeMap::from([(buyer("ann"), 4), (buyer("bob"), 2)]);
        taken_back.lower(&mut units_by_buyer);
        assert_eq!(units_by_buyer, BTreeMap::from([(buyer("ann"), 1), (buyer("bob"), 2)]));
        assert_eq!(taken_back.units(), 8);
    }
}

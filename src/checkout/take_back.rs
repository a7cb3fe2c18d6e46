//! What CreateHold takes back when a product is short of stock: its expired holds, and then its overdue orders. So a
//! dead sweeper costs tidiness, never sales.
//!
//! The product is locked before, against the order of locks (order, hold, product), so nothing here may wait: every lock
//! is taken with SKIP LOCKED. That goes for the orders' holds too: a release or an order in the making may have one
//! locked and wait for the product. An order whose hold is busy is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::{handle_payment_webhook::cancel_but_for_stock, log_expired, log_overdue};
use crate::{
    db::{
        Connection, Database, Failure, Script,
        holds::{self, ExpiredHold},
        orders,
    },
    domain::{BuyerId, HoldId, HoldStatus, Order, OrderId, OrderStatus, ProductId},
};

/// Rows that one transaction takes back: at least this many, so that the next is not short again, and no more than
/// [`ROWS_MAX`] of a kind, so that the product isn't locked for long. What is still short then is for the next one.
const ROWS_MIN: i64 = 100;
const ROWS_MAX: i64 = 10_000;
/// As many expired holds of the very buyers who ask, which count for none of them any more.
pub(super) const PAST_MAX: usize = 10_000;

/// Holds and orders, locked, whose units go back.
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
    /// Locks what may give back `units_short` units, as far as there is any and one transaction may, beside the expired
    /// holds that it has locked before. Orders only where no expired hold is left: for an order, a payment may still come.
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
        // Those locked before are found again, and must not go back twice.
        let units_before = taken_back.units();
        let mut ids = taken_back.hold_ids();
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

    /// Holds that a sweep has locked.
    pub(super) fn of_holds(expired: Vec<ExpiredHold>) -> Self {
        Self { expired, ..Self::default() }
    }

    /// Orders that a sweep has locked.
    pub(super) fn of_orders(orders: Vec<Order>) -> Self {
        let overdue = orders.into_iter().map(|order| Overdue { order, buyer_id: None }).collect();
        Self { overdue, ..Self::default() }
    }

    /// What a call gave back: what its last run did, and of the runs before it that got no answer to their COMMIT, what
    /// those did that have committed. Only what commits even later isn't seen.
    pub(super) async fn of_all_runs(database: &Database, last: Self, unsettled: Vec<Self>) -> Vec<Self> {
        let mut done = vec![last];
        for planned in unsettled {
            // A run commits as a whole or not at all, and what a later one found still to be done wasn't done by it.
            let done_later = done.iter().any(|later| planned.shares_a_row_with(later));
            if planned.rows() > 0 && !done_later && planned.is_done(database).await {
                done.push(planned);
            }
        }
        done
    }

    fn hold_ids(&self) -> BTreeSet<HoldId> {
        self.expired.iter().map(ExpiredHold::id).collect()
    }

    fn order_ids(&self) -> BTreeSet<OrderId> {
        self.overdue.iter().map(|overdue| overdue.order.id).collect()
    }

    fn shares_a_row_with(&self, other: &Self) -> bool {
        !self.hold_ids().is_disjoint(&other.hold_ids()) || !self.order_ids().is_disjoint(&other.order_ids())
    }

    /// Whether all of it has gone back by now. A database that can't say leaves it open, and it counts as not done.
    async fn is_done(&self, database: &Database) -> bool {
        let (hold_ids, order_ids) = (self.hold_ids(), self.order_ids());
        let read = database.read("unsettled", async |conn: &mut Connection, _attempt| {
            let mut done = true;
            if !hold_ids.is_empty() {
                let holds = holds::read(&mut *conn, hold_ids.iter().copied()).await?;
                done &= holds.values().all(|stored| stored.hold.status == HoldStatus::Expired);
            }
            if !order_ids.is_empty() {
                let orders = orders::read(conn, order_ids.iter().copied()).await?;
                done &= orders.values().all(|order| order.status == OrderStatus::Cancelled);
            }
            Ok(done)
        });
        read.await.unwrap_or(false)
    }

    /// Holds and orders.
    pub(super) fn rows(&self) -> usize {
        self.expired.len() + self.overdue.len()
    }

    /// Whether another transaction may take back more.
    pub(super) fn leaves_some(&self) -> bool {
        self.cut_off && self.units() > 0
    }

    /// The units that go back.
    pub(super) fn units(&self) -> i64 {
        let expired = self.expired.iter().map(|hold| hold.qty().units());
        let overdue = self.overdue.iter().map(|overdue| overdue.order.qty.units());
        expired.chain(overdue).sum()
    }

    /// The products whose units go back.
    pub(super) fn products(&self) -> impl Iterator<Item = ProductId> {
        let expired = self.expired.iter().map(ExpiredHold::product_id);
        expired.chain(self.overdue.iter().map(|overdue| overdue.order.product_id))
    }

    /// The last moment at which the time of any was over.
    pub(super) fn reached(&self) -> Option<SystemTime> {
        let expired = self.expired.iter().map(ExpiredHold::expires_at);
        expired.chain(self.overdue.iter().filter_map(|overdue| overdue.order.payment_due_at)).max()
    }

    /// Lowers what buyers have by what goes back of their orders. Expired holds didn't count, or for this batch
    /// still do: where another had them locked a moment ago.
    pub(super) fn free(&self, taken: &mut BTreeMap<BuyerId, i64>) {
        for Overdue { order, buyer_id } in &self.overdue {
            if let Some(units) = buyer_id.as_ref().and_then(|buyer_id| taken.get_mut(buyer_id)) {
                *units -= order.qty.units();
            }
        }
    }

    /// Writes what becomes of the holds and orders. The caller writes the product's stock.
    pub(super) fn write(&self, script: &mut Script) {
        cancel_but_for_stock(script, self.overdue.iter().map(|overdue| &overdue.order));
        let expired: Vec<HoldId> = self.expired.iter().map(ExpiredHold::id).collect();
        holds::set_status(script, &expired, HoldStatus::Active, HoldStatus::Expired);
    }

    /// Logs it, once it is committed.
    pub(super) fn log(&self) {
        self.expired.iter().for_each(log_expired);
        self.overdue.iter().for_each(|overdue| log_overdue(&overdue.order));
    }
}

fn rows(units: i64) -> usize {
    usize::try_from(units.clamp(ROWS_MIN, ROWS_MAX)).unwrap_or(0)
}

/// Leaves out the orders whose hold somebody else has locked.
async fn with_free_holds(conn: &mut Connection, orders: Vec<Order>) -> Result<Vec<Overdue>, Failure> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let mut holds = holds::lock_free(conn, orders.iter().map(|order| order.hold_id)).await?;
    let with_hold = |order: Order| {
        let stored = holds.remove(&order.hold_id)?;
        Some(Overdue { order, buyer_id: stored.hold.buyer_id })
    };
    Ok(orders.into_iter().filter_map(with_hold).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Quantity;

    fn overdue(id: i64, qty: i32, buyer_id: Option<&str>) -> Overdue {
        let order = Order {
            id: OrderId::stored(id),
            hold_id: HoldId::stored(id),
            product_id: ProductId::stored(1),
            qty: Quantity::stored(qty),
            amount_cents: 0,
            status: OrderStatus::Pending,
            payment_due_at: None,
            created_at: SystemTime::UNIX_EPOCH,
        };
        Overdue { order, buyer_id: buyer_id.map(|id| BuyerId::parse(id).unwrap()) }
    }

    /// A buyer whose order is taken back has fewer units in the very batch that takes it back.
    #[test]
    fn what_goes_back_no_longer_counts_for_its_buyers() {
        let buyer = |id| BuyerId::parse(id).unwrap();
        let orders = vec![overdue(1, 2, Some("ann")), overdue(2, 1, Some("ann")), overdue(3, 5, None)];
        let taken_back = TakenBack { overdue: orders, ..TakenBack::default() };
        let mut taken = BTreeMap::from([(buyer("ann"), 4), (buyer("bob"), 2)]);
        taken_back.free(&mut taken);
        assert_eq!(taken, BTreeMap::from([(buyer("ann"), 1), (buyer("bob"), 2)]));
        assert_eq!(taken_back.units(), 8);
    }
}

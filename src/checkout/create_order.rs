//! CreateOrder: turns a hold into an order.
//!
//! holds FOR UPDATE SKIP LOCKED by id · the orders of those that aren't active · orders, holds and COMMIT as one
//! script. A command whose hold somebody else has locked waits for that hold alone. The product's row isn't touched:
//! the units were held and are now ordered, so they stay unavailable.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use tracing::info;

use super::{Checkout, busy};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        holds::{self, StoredHold},
        orders::{self, NewOrder, StoredOrder},
    },
    domain::{
        BuyerId, HoldId, HoldStatus, Order, OrderId, OrderStatus, Refusal, RequestId, SettledBy, hold::NotOrderable,
    },
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcome, Outcomes},
    metrics::{self, OrderState},
};

/// Asks for an order of the units that a hold holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOrder {
    /// The hold.
    pub hold_id: HoldId,
    /// The caller's request_id, or one that the server made up.
    pub request_id: RequestId,
    /// Who holds, where the caller says. Another buyer's hold is not found.
    pub buyer_id: Option<BuyerId>,
}

/// Tells a caller which order it has, and whether this call made it.
#[derive(Debug, Clone)]
pub struct CreatedOrder {
    /// The order, as it is now.
    pub order: Order,
    /// Whether an earlier call made it.
    pub replayed: bool,
}

/// Runs CreateOrder commands.
pub struct CreateOrderBatch {
    database: Database,
    payment_due: Option<Duration>,
}

impl CreateOrderBatch {
    pub(super) fn new(database: Database, payment_due: Option<Duration>) -> Self {
        Self { database, payment_due }
    }
}

/// Says what happens to one command.
#[derive(Debug)]
enum OrderDecision {
    /// It makes the order at this place of the list.
    Make(usize),
    /// It gets the order at this place, which an earlier command with the same request_id makes.
    Share(usize),
    /// It is refused: an earlier command of the batch uses the hold for the order at this place.
    UsedBy(usize),
    /// It gets the order that an earlier transaction made.
    Replay(Order),
    /// It gets this error, and nothing is done.
    Refuse(Error),
    /// It waits: somebody else has locked the hold.
    Wait,
}

/// Keeps the rows of a batch.
struct HoldsAndOrders {
    /// The holds that this transaction has locked.
    holds: BTreeMap<HoldId, StoredHold>,
    /// The holds that somebody else has locked.
    busy: BTreeSet<HoldId>,
    /// The orders of locked holds that aren't active.
    made: BTreeMap<HoldId, StoredOrder>,
}

impl Batch for CreateOrderBatch {
    type Command = CreateOrder;
    type Answer = CreatedOrder;

    const NAME: &'static str = "create_order";

    async fn run(&self, calls: Calls<'_, CreateOrder>) -> Result<Outcomes<CreatedOrder>, Error> {
        let commands = calls.commands();
        let made = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("create_order", async |conn: &mut Connection, _attempt| {
                let hold_ids: BTreeSet<HoldId> = commands.iter().map(|command| command.hold_id).collect();
                let (holds, busy) = holds::lock_or_busy(&mut *conn, hold_ids).await?;
                // An active hold has no order, because both change in one transaction.
                let not_active = holds.values().filter(|stored| stored.hold.status != HoldStatus::Active);
                let made = orders::of_holds(conn, not_active.map(|stored| stored.hold.id)).await?;
                let (decisions, new) = self.decide(&HoldsAndOrders { holds, busy, made }, commands);
                let mut script = Script::default();
                orders::insert(&mut script, &new);
                let used: Vec<HoldId> = new.iter().map(|order| order.hold.id).collect();
                holds::set_status(&mut script, &used, HoldStatus::Active, HoldStatus::Used);
                Ok::<_, Failure>(Plan { script, value: (decisions, new) })
            })
            .await;
        if let (Err(Error::LockContention), None) = (&made, calls.busy()) {
            // A row of one of the commands is locked, and the others need not wait for it.
            return Ok(commands.iter().map(|command| Outcome::Busy(busy::hold(command.hold_id))).collect());
        }
        let Committed { value: (decisions, new), ids, script_time } = made?;
        let id = |index| OrderId::stored(ids.get(index));
        let order = |index: usize| order_of(&new[index], id(index), script_time);
        let outcome = |(command, decision): (&CreateOrder, OrderDecision)| match decision {
            OrderDecision::Make(index) => Outcome::Done(Ok(CreatedOrder { order: order(index), replayed: false })),
            OrderDecision::Share(index) => Outcome::Done(Ok(CreatedOrder { order: order(index), replayed: true })),
            OrderDecision::UsedBy(by) => {
                Outcome::Done(Err(Refusal::HoldUsed { hold_id: command.hold_id, order_id: id(by) }.into()))
            }
            OrderDecision::Replay(order) => {
                // An order that is found under a request_id that was just made up is from an earlier run of this call.
                Outcome::Done(Ok(CreatedOrder { order, replayed: command.request_id.is_callers() }))
            }
            OrderDecision::Refuse(error) => Outcome::Done(Err(error)),
            OrderDecision::Wait => Outcome::Busy(busy::hold(command.hold_id)),
        };
        Ok(commands.iter().zip(decisions).map(outcome).collect())
    }

    fn record(&self, _command: &CreateOrder, result: &Result<CreatedOrder, Error>, _took: Duration) {
        if let Ok(CreatedOrder { order, replayed: false }) = result {
            info!(
                order_id = order.id.get(),
                hold_id = order.hold_id.get(),
                product_id = order.product_id.get(),
                qty = order.qty.get(),
                "Order created"
            );
            let is_paid = order.status == OrderStatus::Paid;
            metrics::count_order(if is_paid { OrderState::Paid } else { OrderState::Pending }, 1);
        }
    }
}

impl Checkout {
    /// Turns a hold into an order.
    ///
    /// # Errors
    /// `NotFound`, `Refused` (expired, cancelled, used), or temporary.
    pub async fn create_order(&self, command: CreateOrder) -> Result<Order, Error> {
        Ok(self.create_order.submit(LaneKey::WholeUseCase, command).await?.order)
    }
}

impl CreateOrderBatch {
    /// Decides the commands one after the other: the first for a hold makes its order.
    fn decide(&self, rows: &HoldsAndOrders, commands: &[CreateOrder]) -> (Vec<OrderDecision>, Vec<NewOrder>) {
        let HoldsAndOrders { holds, busy, made } = rows;
        let mut new: Vec<NewOrder> = Vec::new();
        let mut making: HashMap<HoldId, usize> = HashMap::new();
        let decisions = commands.iter().map(|command| {
            let CreateOrder { hold_id, request_id, buyer_id } = command;
            if busy.contains(hold_id) {
                return OrderDecision::Wait;
            }
            let has_another_buyer = |stored: &StoredHold| buyer_id.is_some() && stored.hold.buyer_id != *buyer_id;
            if holds.get(hold_id).is_some_and(has_another_buyer) {
                return OrderDecision::Refuse(Missing::Hold(*hold_id).into());
            }
            if let Some(stored) = made.get(hold_id) {
                return repeat(stored, request_id);
            }
            if let Some(&index) = making.get(hold_id) {
                let same = new[index].request_id == *request_id;
                return if same { OrderDecision::Share(index) } else { OrderDecision::UsedBy(index) };
            }
            let Some(StoredHold { hold, now, .. }) = holds.get(hold_id) else {
                return OrderDecision::Refuse(Missing::Hold(*hold_id).into());
            };
            if let Err(why) = hold.order(*now) {
                return OrderDecision::Refuse(refusal(*hold_id, why));
            }
            making.insert(*hold_id, new.len());
            new.push(NewOrder {
                hold: hold.clone(),
                request_id: request_id.clone(),
                payment_due_at: self.payment_due.map(|due| *now + due),
                created_at: *now,
            });
            OrderDecision::Make(new.len() - 1)
        });
        (decisions.collect(), new)
    }
}

/// Decides a command for a hold that has its order. The request that made it gets the order as it is now.
fn repeat(stored: &StoredOrder, request_id: &RequestId) -> OrderDecision {
    let StoredOrder { order, request_id: made_by } = stored;
    if made_by == request_id {
        return OrderDecision::Replay(order.clone());
    }
    OrderDecision::Refuse(Refusal::HoldUsed { hold_id: order.hold_id, order_id: order.id }.into())
}

fn refusal(hold_id: HoldId, why: NotOrderable) -> Error {
    match why.refusal(hold_id) {
        Some(refusal) => refusal.into(),
        None => Error::Internal(format!("hold {hold_id} is used, but has no order")),
    }
}

fn order_of(new: &NewOrder, id: OrderId, script_time: Option<SystemTime>) -> Order {
    Order {
        id,
        hold_id: new.hold.id,
        product_id: new.hold.product_id,
        qty: new.hold.qty,
        amount_cents: new.hold.amount_cents(),
        status: new.settled_by().map_or(OrderStatus::Pending, SettledBy::order_status),
        payment_due_at: new.payment_due_at,
        created_at: new.created_at,
        buyer_id: new.hold.buyer_id.clone(),
        settled_at: new.settled_by().and(script_time),
        payment_id: None,
    }
}

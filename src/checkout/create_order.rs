//! CreateOrder: turns a hold into an order.
//!
//! holds FOR UPDATE SKIP LOCKED by id · the orders of those that aren't active · orders, holds and COMMIT as one script. A
//! command whose hold somebody else has locked waits for that hold alone. The product's row isn't touched: the units change
//! from held to ordered, and stay taken.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tracing::info;

use super::busy;
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        holds::{self, StoredHold},
        orders::{self, NewOrder, StoredOrder},
    },
    domain::{HoldId, HoldStatus, Order, OrderId, OrderStatus, Refusal, RequestId, hold::NotOrderable},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcome, Outcomes},
};

/// A caller's wish to order what a hold holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOrder {
    /// The hold.
    pub hold_id: HoldId,
    /// The caller's, or made up.
    pub request_id: RequestId,
}

/// An order, and whether this call made it.
#[derive(Debug, Clone)]
pub struct CreatedOrder {
    /// The order, as it is now.
    pub order: Order,
    /// Whether an earlier call made it.
    pub replayed: bool,
}

/// The batch of CreateOrder.
pub struct CreateOrders {
    database: Database,
    payment_due: Option<Duration>,
}

impl CreateOrders {
    pub(super) fn new(database: Database, payment_due: Option<Duration>) -> Self {
        Self { database, payment_due }
    }
}

/// What happens to one command.
#[derive(Debug)]
enum Decision {
    /// The order to be made at this place of the list.
    Make(usize),
    /// The order to be made at this place, for an earlier command with the same request_id.
    Share(usize),
    /// Nothing: an earlier command of the batch makes the order at this place.
    UsedBy(usize),
    /// The order that an earlier transaction made.
    Replay(Order),
    /// Nothing.
    Refuse(Error),
    /// Nothing yet: somebody else has locked the hold.
    Wait,
}

/// The rows of a batch.
struct Rows {
    /// Locked.
    holds: BTreeMap<HoldId, StoredHold>,
    /// Locked by somebody else.
    busy: BTreeSet<HoldId>,
    /// The orders of those that aren't active.
    made: BTreeMap<HoldId, StoredOrder>,
}

impl Batch for CreateOrders {
    type Command = CreateOrder;
    type Answer = CreatedOrder;

    async fn run(&self, calls: Calls<'_, CreateOrder>) -> Result<Outcomes<CreatedOrder>, Error> {
        let commands = calls.commands();
        let made = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("create_order", async |conn: &mut Connection, _attempt| {
                let hold_ids: BTreeSet<HoldId> = commands.iter().map(|command| command.hold_id).collect();
                let (holds, busy) = holds::lock_or_busy(&mut *conn, hold_ids).await?;
                // An active hold has no order: both change in one transaction.
                let over = holds.values().filter(|stored| stored.hold.status != HoldStatus::Active);
                let made = orders::of_holds(conn, over.map(|stored| stored.hold.id)).await?;
                let (decisions, new) = self.decide(&Rows { holds, busy, made }, commands);
                let mut script = Script::default();
                orders::insert(&mut script, &new);
                let used: Vec<HoldId> = new.iter().map(|order| order.hold.id).collect();
                holds::set_status(&mut script, &used, HoldStatus::Active, HoldStatus::Used);
                Ok::<_, Failure>(Plan { script, value: (decisions, new) })
            })
            .await;
        if let (Err(Error::LockContention), None) = (&made, calls.busy()) {
            // Something of one of them is locked, and the others need not wait with it.
            return Ok(commands.iter().map(|command| Outcome::Busy(busy::hold(command.hold_id))).collect());
        }
        let Committed { value: (decisions, new), ids, .. } = made?;
        let id = |index| OrderId::stored(ids.get(index));
        let order = |index: usize| order_of(&new[index], id(index));
        let outcome = |(command, decision): (&CreateOrder, Decision)| match decision {
            Decision::Make(index) => Outcome::Done(Ok(CreatedOrder { order: order(index), replayed: false })),
            Decision::Share(index) => Outcome::Done(Ok(CreatedOrder { order: order(index), replayed: true })),
            Decision::UsedBy(by) => {
                Outcome::Done(Err(Refusal::HoldUsed { hold_id: command.hold_id, order_id: id(by) }.into()))
            }
            Decision::Replay(order) => {
                // What was made for a request_id that was just made up, a run before this one has made.
                Outcome::Done(Ok(CreatedOrder { order, replayed: command.request_id.is_callers() }))
            }
            Decision::Refuse(error) => Outcome::Done(Err(error)),
            Decision::Wait => Outcome::Busy(busy::hold(command.hold_id)),
        };
        Ok(commands.iter().zip(decisions).map(outcome).collect())
    }

    fn record(&self, _command: &CreateOrder, result: &Result<CreatedOrder, Error>) {
        if let Ok(CreatedOrder { order, replayed: false }) = result {
            info!(
                order_id = order.id.get(),
                hold_id = order.hold_id.get(),
                product_id = order.product_id.get(),
                qty = order.qty.get(),
                "Order created"
            );
        }
    }
}

impl CreateOrders {
    /// Decides the commands one after the other: the first for a hold makes its order.
    fn decide(&self, rows: &Rows, commands: &[CreateOrder]) -> (Vec<Decision>, Vec<NewOrder>) {
        let Rows { holds, busy, made } = rows;
        let mut new: Vec<NewOrder> = Vec::new();
        let mut making: HashMap<HoldId, usize> = HashMap::new();
        let decisions = commands.iter().map(|command| {
            let CreateOrder { hold_id, request_id } = command;
            if busy.contains(hold_id) {
                return Decision::Wait;
            }
            if let Some(stored) = made.get(hold_id) {
                return repeat(stored, request_id);
            }
            if let Some(&index) = making.get(hold_id) {
                let same = new[index].request_id == *request_id;
                return if same { Decision::Share(index) } else { Decision::UsedBy(index) };
            }
            let Some(StoredHold { hold, now, .. }) = holds.get(hold_id) else {
                return Decision::Refuse(Missing::Hold(*hold_id).into());
            };
            if let Err(why) = hold.order(*now) {
                return Decision::Refuse(refusal(*hold_id, why));
            }
            making.insert(*hold_id, new.len());
            new.push(NewOrder {
                hold: hold.clone(),
                request_id: request_id.clone(),
                payment_due_at: self.payment_due.map(|due| *now + due),
                created_at: *now,
            });
            Decision::Make(new.len() - 1)
        });
        (decisions.collect(), new)
    }
}

/// The answer to a command for a hold that has its order: the order as it is now, to the request that made it.
fn repeat(stored: &StoredOrder, request_id: &RequestId) -> Decision {
    let StoredOrder { order, request_id: made_by } = stored;
    if made_by == request_id {
        return Decision::Replay(order.clone());
    }
    Decision::Refuse(Refusal::HoldUsed { hold_id: order.hold_id, order_id: order.id }.into())
}

fn refusal(hold_id: HoldId, why: NotOrderable) -> Error {
    match why.refusal(hold_id) {
        Some(refusal) => refusal.into(),
        None => Error::Internal(format!("hold {hold_id} is used, but has no order")),
    }
}

fn order_of(new: &NewOrder, id: OrderId) -> Order {
    Order {
        id,
        hold_id: new.hold.id,
        product_id: new.hold.product_id,
        qty: new.hold.qty,
        amount_cents: new.hold.amount_cents(),
        status: OrderStatus::Pending,
        payment_due_at: new.payment_due_at,
        created_at: new.created_at,
    }
}

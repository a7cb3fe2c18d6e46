//! HandlePaymentWebhook: settles an order by an event of the payment provider.
//!
//! orders FOR UPDATE SKIP LOCKED by id, which makes deliveries of one key come one after the other · the keys taken before,
//! where an order isn't pending, as after most events · for failed payments their holds and products FOR UPDATE SKIP LOCKED
//! by id · events, exceptions, orders, holds, products and COMMIT as one script. An event for a row that somebody else has
//! locked waits for that row alone. A key that was not looked for, or that another order's delivery takes at the same moment,
//! is a duplicate key of the script: the batch runs again and sees it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tracing::{error, info, warn};

use super::{
    busy::{self, ProductLocks},
    product_waits::ProductWaits,
    suspects::Suspects,
};
use crate::{
    db::{
        Connection, Database, Failure, Plan, Script, holds, orders, payment_exceptions,
        payment_webhooks::{self, NewEvent, StoredEvent},
        products,
    },
    domain::{
        HoldId, HoldStatus, IdempotencyKey, Order, OrderId, OrderStatus, PaymentEvent, PaymentOutcome, PaymentStatus,
        ProductId, Refusal, Settlement, payment,
    },
    error::{Error, Missing},
    lane::{Batch, BusyRow, Calls, Outcome, Outcomes},
};

/// One delivery of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlePaymentWebhook {
    /// The event's key.
    pub key: IdempotencyKey,
    /// The order paid for.
    pub order_id: OrderId,
    /// What is reported.
    pub event: PaymentEvent,
}

/// The answer to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// What the event did when it was first handled.
    pub settlement: Settlement,
    /// Whether this delivery was the first with its key.
    pub first_time: bool,
    /// Whether it reports something else than the first did.
    pub differs: bool,
}

/// The batch of HandlePaymentWebhook.
pub struct HandlePaymentWebhooks {
    database: Database,
    waits: ProductWaits,
    suspects: Suspects<IdempotencyKey>,
}

impl HandlePaymentWebhooks {
    pub(super) fn new(database: Database, waits: ProductWaits) -> Self {
        Self { database, waits, suspects: Suspects::default() }
    }
}

impl Batch for HandlePaymentWebhooks {
    type Command = HandlePaymentWebhook;
    type Answer = WebhookAnswer;

    async fn run(&self, calls: Calls<'_, HandlePaymentWebhook>) -> Result<Outcomes<WebhookAnswer>, Error> {
        let locks = ProductLocks::new(calls.busy(), &self.waits);
        let suspects = match calls.busy() {
            None => self.suspects.among(calls.commands().iter().map(|command| &command.key)),
            Some(_) => HashSet::new(),
        };
        let handled = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("handle_payment_webhook", async |conn: &mut Connection, attempt| {
                let mut books = Books::open(conn, &locks, &suspects, calls, attempt).await?;
                let outcomes: Outcomes<WebhookAnswer> =
                    calls.commands().iter().map(|command| books.handle(command)).collect();
                Ok::<_, Failure>(Plan { script: books.script(), value: outcomes })
            })
            .await;
        if let Err(Error::LockContention) = handled {
            locks.remember_stuck(&self.waits);
            self.suspects.remember(calls.commands().iter().map(|command| &command.key));
            if calls.busy().is_none() {
                // One of the keys is locked, and the others need not wait with it.
                let by_itself = |command: &HandlePaymentWebhook| Outcome::Busy(busy::payment_key(&command.key));
                return Ok(calls.commands().iter().map(by_itself).collect());
            }
        }
        Ok(handled?.value)
    }

    fn record(&self, command: &HandlePaymentWebhook, result: &Result<WebhookAnswer, Error>) {
        let outcome = match result {
            Ok(answer) => log_handled(command, answer),
            Err(error) => log_error(&command.key.to_string(), command.order_id.get(), error),
        };
        metrics::counter!(crate::metric_names::WEBHOOKS, "outcome" => outcome).increment(1);
    }
}

fn log_handled(command: &HandlePaymentWebhook, answer: &WebhookAnswer) -> &'static str {
    let WebhookAnswer { settlement, first_time, differs } = *answer;
    let (idempotency_key, order_id) = (command.key.to_string(), command.order_id.get());
    let result = if first_time { settlement.outcome.as_str() } else { "replayed" };
    info!(idempotency_key, order_id, result, first_time, "Payment webhook handled");
    if differs {
        warn!(
            idempotency_key,
            order_id,
            amount_cents = command.event.amount_cents,
            "Payment webhook repeated with another status or amount: the first one counts"
        );
    }
    if first_time && settlement.outcome.refund_required() {
        warn!(idempotency_key, order_id, kind = result, "Payment needs a refund");
    }
    result
}

/// Logs a delivery that was not handled: the provider's fault or ours. Returns the name of the outcome.
fn log_error(idempotency_key: &str, order_id: i64, error: &Error) -> &'static str {
    match error {
        Error::Invalid(_) | Error::NotFound(_) | Error::Refused(_) => {
            warn!(reason = error.reason(), idempotency_key, order_id, "Payment webhook refused");
            "refused"
        }
        Error::LockContention
        | Error::Unavailable(_)
        | Error::Overloaded(_)
        | Error::DeadlineExceeded
        | Error::Internal(_) => {
            error!(error = %error, idempotency_key, order_id, "Payment webhook failed");
            "failed"
        }
    }
}

/// Records a delivery that never gets to a lane: it has a bad field, or the server isn't ready.
pub fn record_early(idempotency_key: &str, order_id: i64, error: &Error) {
    let outcome = log_error(idempotency_key, order_id, error);
    metrics::counter!(crate::metric_names::WEBHOOKS, "outcome" => outcome).increment(1);
}

/// Why an event was not handled.
enum Stopped {
    /// It is refused.
    Refused(Error),
    /// It has to wait for a row that somebody else has locked.
    Busy(BusyRow),
}

/// The orders and keys of a batch, as its events change them one after the other.
struct Books<'s> {
    /// Locked.
    orders: BTreeMap<OrderId, Order>,
    /// Locked by somebody else.
    busy: BTreeSet<OrderId>,
    /// Locked, of those that may be cancelled.
    holds: BTreeSet<HoldId>,
    /// Locked, of those that units may go back to.
    products: BTreeSet<ProductId>,
    taken: BTreeMap<IdempotencyKey, StoredEvent>,
    /// Keys that somebody else may have locked.
    suspects: &'s HashSet<IdempotencyKey>,
    new: Vec<NewEvent>,
}

impl<'s> Books<'s> {
    async fn open(
        conn: &mut Connection,
        locks: &ProductLocks,
        suspects: &'s HashSet<IdempotencyKey>,
        calls: Calls<'_, HandlePaymentWebhook>,
        attempt: u32,
    ) -> Result<Self, Failure> {
        let commands = calls.commands();
        let ids: BTreeSet<OrderId> = commands.iter().map(|command| command.order_id).collect();
        let (orders, busy) = orders::lock_or_busy(&mut *conn, ids).await?;
        let pending = |id| orders.get(id).filter(|order: &&Order| order.status == OrderStatus::Pending);

        let free = commands.iter().filter(|command| !busy.contains(&command.order_id));
        let doubtful =
            free.filter(|command| attempt > 0 || calls.busy().is_some() || pending(&command.order_id).is_none());
        let keys: Vec<&IdempotencyKey> = doubtful.map(|command| &command.key).collect();
        let taken = payment_webhooks::taken(&mut *conn, &keys).await?;

        let failures = commands.iter().filter(|command| command.event.status == PaymentStatus::Failure);
        let ending: Vec<&Order> = failures.filter_map(|command| pending(&command.order_id)).collect();
        let (holds, products) = if ending.is_empty() {
            Default::default()
        } else {
            let holds = holds::lock_free(&mut *conn, ending.iter().map(|order| order.hold_id)).await?;
            (
                holds.into_keys().collect(),
                locks.lock(conn, ending.iter().map(|order| order.product_id).collect()).await?,
            )
        };
        Ok(Self { orders, busy, holds, products, taken, suspects, new: Vec::new() })
    }

    fn handle(&mut self, command: &HandlePaymentWebhook) -> Outcome<WebhookAnswer> {
        if self.busy.contains(&command.order_id) {
            return Outcome::Busy(busy::order(command.order_id));
        }
        if self.suspects.contains(&command.key) {
            return Outcome::Busy(busy::payment_key(&command.key));
        }
        match self.settle(command) {
            Ok(answer) => Outcome::Done(Ok(answer)),
            Err(Stopped::Refused(error)) => Outcome::Done(Err(error)),
            Err(Stopped::Busy(row)) => Outcome::Busy(row),
        }
    }

    fn settle(&mut self, command: &HandlePaymentWebhook) -> Result<WebhookAnswer, Stopped> {
        let HandlePaymentWebhook { key, order_id, event } = command;
        if let Some(stored) = self.taken.get(key) {
            if stored.order_id != *order_id {
                return Err(Stopped::Refused(Refusal::IdempotencyKeyReused.into()));
            }
            let differs = event.contradicts(stored.event);
            return Ok(WebhookAnswer { settlement: stored.settlement, first_time: false, differs });
        }
        let missing = || Stopped::Refused(Missing::Order(*order_id).into());
        let order = self.orders.get_mut(order_id).ok_or_else(missing)?;
        let settlement = payment::settle(order, *event);
        let cancels =
            settlement.outcome == PaymentOutcome::Applied && settlement.order_status == OrderStatus::Cancelled;
        if cancels && !self.holds.contains(&order.hold_id) {
            return Err(Stopped::Busy(busy::hold(order.hold_id)));
        }
        if cancels && !self.products.contains(&order.product_id) {
            return Err(Stopped::Busy(busy::product(order.product_id)));
        }
        order.status = settlement.order_status;
        let stored = StoredEvent { order_id: *order_id, event: *event, settlement };
        self.taken.insert(key.clone(), stored);
        self.new.push(NewEvent {
            key: key.clone(),
            order_id: *order_id,
            product_id: order.product_id,
            event: *event,
            settlement,
        });
        Ok(WebhookAnswer { settlement, first_time: true, differs: false })
    }

    /// An order changes once at the most in a batch, since it leaves `pending` once.
    fn script(self) -> Script {
        let (mut paid, mut cancelled) = (Vec::new(), Vec::new());
        let applied = self.new.iter().filter(|new| new.settlement.outcome == PaymentOutcome::Applied);
        for event in applied {
            match event.settlement.order_status {
                OrderStatus::Paid => paid.push(event.order_id),
                OrderStatus::Cancelled => cancelled.push(event.order_id),
                OrderStatus::Pending => {}
            }
        }
        let mut script = Script::default();
        payment_webhooks::insert(&mut script, &self.new);
        payment_exceptions::insert(&mut script, &self.new);
        orders::settle(&mut script, &paid, OrderStatus::Paid);
        cancel(&mut script, cancelled.iter().filter_map(|id| self.orders.get(id)));
        script
    }
}

/// Cancels locked, pending orders: their holds are cancelled, and their units go back.
pub(super) fn cancel<'o>(script: &mut Script, orders: impl Iterator<Item = &'o Order>) {
    for (product_id, units) in cancel_but_for_stock(script, orders) {
        products::give_back(script, product_id, units);
    }
}

/// As [`cancel`], but the units of each product are left to the caller.
pub(super) fn cancel_but_for_stock<'o>(
    script: &mut Script,
    orders: impl Iterator<Item = &'o Order>,
) -> BTreeMap<ProductId, i64> {
    let (mut order_ids, mut hold_ids): (Vec<OrderId>, Vec<HoldId>) = (Vec::new(), Vec::new());
    let mut units: BTreeMap<ProductId, i64> = BTreeMap::new();
    for order in orders {
        order_ids.push(order.id);
        hold_ids.push(order.hold_id);
        *units.entry(order.product_id).or_default() += order.qty.units();
    }
    orders::settle(script, &order_ids, OrderStatus::Cancelled);
    holds::set_status(script, &hold_ids, HoldStatus::Used, HoldStatus::Cancelled);
    units
}

//! HandlePaymentWebhook: settles an order by an event of the payment provider.
//!
//! orders FOR UPDATE SKIP LOCKED by id · earlier events with these keys, if the order isn't pending · for failed
//! payments their holds and products FOR UPDATE SKIP LOCKED by id · events, exceptions, orders, holds, products and
//! COMMIT as one script.
//!
//! The lock on the order makes deliveries with one idempotency_key come one after the other. After most events an order
//! is no longer pending, so the keys of pending orders are not looked for. If such a key is there all the same, or if
//! another order's delivery stores it at the same moment, the script fails with a duplicate key. Then the batch runs
//! again and finds the key. A delivery for a row that somebody else has locked waits for that row alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use tracing::{error, info, warn};

use super::{
    Checkout,
    busy::{self, ProductLocks},
    cancel_orders::cancel_orders,
    product_waits::ProductWaits,
    suspects::Suspects,
};
use crate::{
    db::{
        Connection, Database, Failure, Plan, Script, holds, orders, payment_exceptions,
        payment_webhooks::{self, NewEvent, StoredEvent},
    },
    domain::{
        HoldId, IdempotencyKey, Invalid, Order, OrderId, OrderStatus, PaymentEvent, PaymentStatus, ProductId, Refusal,
        SettledBy, Settlement, payment,
    },
    error::{Error, Missing},
    lane::{Batch, BusyRow, Calls, LaneKey, Outcome, Outcomes},
    metrics::{self, OrderState},
};

/// Delivers a payment event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlePaymentWebhook {
    /// The event's key, by which a repeated delivery is known.
    pub idempotency_key: IdempotencyKey,
    /// The order paid for.
    pub order_id: OrderId,
    /// What is reported.
    pub event: PaymentEvent,
}

/// Answers a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// What the event did when it was first handled.
    pub settlement: Settlement,
    /// Whether this delivery was the first with its key.
    pub first_time: bool,
    /// Whether this delivery reports something else than the first one did.
    pub differs: bool,
}

/// Runs HandlePaymentWebhook commands.
pub struct HandlePaymentWebhookBatch {
    database: Database,
    waits: ProductWaits,
    suspects: Suspects<IdempotencyKey>,
}

impl HandlePaymentWebhookBatch {
    pub(super) fn new(database: Database, waits: ProductWaits) -> Self {
        Self { database, waits, suspects: Suspects::default() }
    }
}

impl Batch for HandlePaymentWebhookBatch {
    type Command = HandlePaymentWebhook;
    type Answer = WebhookAnswer;

    const NAME: &'static str = "handle_payment_webhook";

    async fn run(&self, calls: Calls<'_, HandlePaymentWebhook>) -> Result<Outcomes<WebhookAnswer>, Error> {
        let locks = ProductLocks::new(calls.busy(), &self.waits);
        let suspects = match calls.busy() {
            None => self.suspects.among(calls.commands().iter().map(|command| &command.idempotency_key)),
            Some(_) => HashSet::new(),
        };
        let handled = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("handle_payment_webhook", async |conn: &mut Connection, attempt| {
                let mut ledger = Ledger::open(conn, &locks, &suspects, calls, attempt).await?;
                let outcomes: Outcomes<WebhookAnswer> =
                    calls.commands().iter().map(|command| ledger.handle(command)).collect();
                Ok::<_, Failure>(Plan { script: ledger.script(), value: outcomes })
            })
            .await;
        if let Err(Error::LockContention) = handled {
            locks.remember_stuck(&self.waits);
            self.suspects.remember(calls.commands().iter().map(|command| &command.idempotency_key));
            if calls.busy().is_none() {
                // One of the keys is locked, and the others need not wait for it.
                let by_itself =
                    |command: &HandlePaymentWebhook| Outcome::Busy(busy::payment_key(&command.idempotency_key));
                return Ok(calls.commands().iter().map(by_itself).collect());
            }
        }
        Ok(handled?.value)
    }

    fn record(&self, command: &HandlePaymentWebhook, result: &Result<WebhookAnswer, Error>, took: Duration) {
        let outcome = match result {
            Ok(answer) => log_handled(command, answer),
            Err(error) => log_error(&command.idempotency_key.to_string(), command.order_id.get(), error),
        };
        metrics::record_webhook(outcome, took);
        if let Ok(WebhookAnswer { settlement, first_time: true, .. }) = result {
            match settlement.settled_by().map(SettledBy::order_status) {
                Some(OrderStatus::Paid) => metrics::count_order(OrderState::Paid, 1),
                Some(OrderStatus::Cancelled) => metrics::count_order(OrderState::Cancelled, 1),
                Some(OrderStatus::Pending) | None => {}
            }
        }
    }
}

impl Checkout {
    /// Settles an order by a payment event.
    ///
    /// # Errors
    /// `NotFound` (nothing is stored), `Refused` (the key is another order's), `Invalid` (an amount is required), or
    /// temporary.
    pub async fn handle_payment_webhook(&self, command: HandlePaymentWebhook) -> Result<WebhookAnswer, Error> {
        let HandlePaymentWebhook { idempotency_key, order_id, event } = &command;
        if self.require_amount && event.status == PaymentStatus::Success && event.amount_cents.is_none() {
            let error =
                Error::from(Invalid::new("amount_cents", "is required for a success, by this server's settings"));
            record_early(&idempotency_key.to_string(), order_id.get(), &error, Duration::ZERO);
            return Err(error);
        }
        self.handle_payment_webhook.submit(LaneKey::WholeUseCase, command).await
    }
}

fn log_handled(command: &HandlePaymentWebhook, answer: &WebhookAnswer) -> &'static str {
    let WebhookAnswer { settlement, first_time, differs } = *answer;
    let (idempotency_key, order_id) = (command.idempotency_key.to_string(), command.order_id.get());
    let result = if first_time { settlement.result.as_str() } else { "replayed" };
    info!(idempotency_key, order_id, result, first_time, "Payment webhook handled");
    if differs {
        warn!(
            idempotency_key,
            order_id,
            amount_cents = command.event.amount_cents,
            "Payment webhook repeated with another status or amount: the first one counts"
        );
    }
    if first_time && settlement.result.refund_required() {
        warn!(idempotency_key, order_id, kind = result, "Payment needs a refund");
    }
    result
}

/// Logs a delivery that was not handled, as the provider's fault or ours. Returns the name of the outcome.
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

/// Records a delivery that never gets to a lane, because it has a bad field or the server isn't ready. `took` is the
/// time from its arrival to its answer.
pub fn record_early(idempotency_key: &str, order_id: i64, error: &Error, took: Duration) {
    let outcome = log_error(idempotency_key, order_id, error);
    metrics::record_webhook(outcome, took);
}

/// Says why an event was not handled.
enum NotHandled {
    /// It is refused.
    Refused(Error),
    /// It has to wait for a row that somebody else has locked.
    Busy(BusyRow),
}

/// Keeps the orders and events of a batch, as its deliveries change them one after the other.
struct Ledger<'s> {
    /// The orders that this transaction has locked.
    orders: BTreeMap<OrderId, Order>,
    /// The orders that somebody else has locked.
    busy: BTreeSet<OrderId>,
    /// The holds that may be cancelled, as far as this transaction has locked them.
    holds: BTreeSet<HoldId>,
    /// The products that units may go back to, as far as this transaction has locked them.
    products: BTreeSet<ProductId>,
    /// The events that were handled before, by earlier transactions or by this batch.
    events: BTreeMap<IdempotencyKey, StoredEvent>,
    /// Keys that somebody else may have locked.
    suspects: &'s HashSet<IdempotencyKey>,
    new: Vec<NewEvent>,
}

impl<'s> Ledger<'s> {
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
        let looked_for =
            free.filter(|command| attempt > 0 || calls.busy().is_some() || pending(&command.order_id).is_none());
        let keys: Vec<&IdempotencyKey> = looked_for.map(|command| &command.idempotency_key).collect();
        let events = payment_webhooks::known_events(&mut *conn, &keys).await?;

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
        Ok(Self { orders, busy, holds, products, events, suspects, new: Vec::new() })
    }

    fn handle(&mut self, command: &HandlePaymentWebhook) -> Outcome<WebhookAnswer> {
        if self.busy.contains(&command.order_id) {
            return Outcome::Busy(busy::order(command.order_id));
        }
        if self.suspects.contains(&command.idempotency_key) {
            return Outcome::Busy(busy::payment_key(&command.idempotency_key));
        }
        match self.settle(command) {
            Ok(answer) => Outcome::Done(Ok(answer)),
            Err(NotHandled::Refused(error)) => Outcome::Done(Err(error)),
            Err(NotHandled::Busy(row)) => Outcome::Busy(row),
        }
    }

    fn settle(&mut self, command: &HandlePaymentWebhook) -> Result<WebhookAnswer, NotHandled> {
        let HandlePaymentWebhook { idempotency_key, order_id, event } = command;
        if let Some(stored) = self.events.get(idempotency_key) {
            if stored.order_id != *order_id {
                return Err(NotHandled::Refused(Refusal::IdempotencyKeyReused.into()));
            }
            let differs = event.contradicts(&stored.event);
            return Ok(WebhookAnswer { settlement: stored.settlement, first_time: false, differs });
        }
        let missing = || NotHandled::Refused(Missing::Order(*order_id).into());
        let order = self.orders.get_mut(order_id).ok_or_else(missing)?;
        let settlement = payment::settle(order, event);
        let cancels = settlement.settled_by() == Some(SettledBy::Failure);
        if cancels && !self.holds.contains(&order.hold_id) {
            return Err(NotHandled::Busy(busy::hold(order.hold_id)));
        }
        if cancels && !self.products.contains(&order.product_id) {
            return Err(NotHandled::Busy(busy::product(order.product_id)));
        }
        order.status = settlement.order_status;
        if settlement.settled_by() == Some(SettledBy::Payment) {
            order.payment_id.clone_from(&event.payment_id);
        }
        let stored = StoredEvent { order_id: *order_id, event: event.clone(), settlement };
        self.events.insert(idempotency_key.clone(), stored);
        self.new.push(NewEvent {
            key: idempotency_key.clone(),
            order_id: *order_id,
            product_id: order.product_id,
            event: event.clone(),
            settlement,
        });
        Ok(WebhookAnswer { settlement, first_time: true, differs: false })
    }

    /// Writes what the batch changed. An order changes at most once in a batch, because it leaves `pending` only once.
    fn script(self) -> Script {
        let settled_by = |by| self.new.iter().filter(move |new| new.settlement.settled_by() == Some(by));
        let paid: Vec<_> =
            settled_by(SettledBy::Payment).map(|new| (new.order_id, new.event.payment_id.clone())).collect();
        let failed = settled_by(SettledBy::Failure).filter_map(|new| self.orders.get(&new.order_id));
        let mut script = Script::default();
        payment_webhooks::insert(&mut script, &self.new);
        payment_exceptions::insert(&mut script, &self.new);
        orders::settle(&mut script, &paid, SettledBy::Payment);
        cancel_orders(&mut script, failed, SettledBy::Failure);
        script
    }
}

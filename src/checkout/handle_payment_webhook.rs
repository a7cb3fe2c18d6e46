//! HandlePaymentWebhook: settles an order by an event of the payment provider.
//!
//! orders FOR UPDATE by id, which makes deliveries of one key queue up · the keys taken before, where an order isn't
//! pending, as after most events · events, exceptions, orders, holds, products by id and COMMIT as one script. A key that was
//! not looked for, or that another order's delivery takes at the same moment, is a duplicate key of the script: the batch
//! runs again and sees it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info, warn};

use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script, holds, orders, payment_exceptions,
        payment_webhooks::{self, NewEvent, StoredEvent},
        products,
    },
    domain::{
        HoldId, HoldStatus, IdempotencyKey, Order, OrderId, OrderStatus, PaymentEvent, PaymentOutcome, ProductId,
        Refusal, Settlement, payment,
    },
    error::{Error, Missing},
    lane::{Batch, Results},
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
}

impl HandlePaymentWebhooks {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for HandlePaymentWebhooks {
    type Command = HandlePaymentWebhook;
    type Answer = WebhookAnswer;

    async fn run(&self, commands: &[HandlePaymentWebhook]) -> Result<Results<WebhookAnswer>, Error> {
        let Committed { value: mut results, unsettled, .. } = self
            .database
            .transaction("handle_payment_webhook", async |conn: &mut Connection, attempt| {
                let ids: BTreeSet<OrderId> = commands.iter().map(|command| command.order_id).collect();
                let orders = orders::lock(conn, ids).await?;
                let is_pending = |id| orders.get(id).is_some_and(|order: &Order| order.status == OrderStatus::Pending);
                let doubtful = commands.iter().filter(|command| attempt > 0 || !is_pending(&command.order_id));
                let keys: Vec<&IdempotencyKey> = doubtful.map(|command| &command.key).collect();
                let taken = payment_webhooks::taken(conn, &keys).await?;
                let mut books = Books { orders, taken, new: Vec::new() };
                let results: Results<WebhookAnswer> = commands.iter().map(|command| books.handle(command)).collect();
                Ok::<_, Failure>(Plan { script: books.script(), value: results })
            })
            .await?;
        for (index, result) in results.iter_mut().enumerate() {
            let runs = unsettled.iter().filter_map(|run: &Results<WebhookAnswer>| run[index].as_ref().ok());
            let Ok(answer) = result else { continue };
            // The key was free then, so it is this delivery that took it.
            let own = runs.into_iter().find(|run| run.first_time && run.settlement == answer.settlement);
            *answer = own.copied().unwrap_or(*answer);
        }
        Ok(results)
    }

    fn record(&self, command: &HandlePaymentWebhook, result: &Result<WebhookAnswer, Error>) {
        let outcome = match result {
            Ok(answer) => log_handled(command, answer),
            Err(error) => log_error(&command.key.to_string(), command.order_id.get(), error),
        };
        metrics::counter!("flashsale_webhooks_total", "outcome" => outcome).increment(1);
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
    metrics::counter!("flashsale_webhooks_total", "outcome" => outcome).increment(1);
}

/// The orders and keys of a batch, as its events change them one after the other.
struct Books {
    orders: BTreeMap<OrderId, Order>,
    taken: BTreeMap<IdempotencyKey, StoredEvent>,
    new: Vec<NewEvent>,
}

impl Books {
    fn handle(&mut self, command: &HandlePaymentWebhook) -> Result<WebhookAnswer, Error> {
        let HandlePaymentWebhook { key, order_id, event } = command;
        if let Some(stored) = self.taken.get(key) {
            if stored.order_id != *order_id {
                return Err(Refusal::IdempotencyKeyReused.into());
            }
            let differs = event.contradicts(stored.event);
            return Ok(WebhookAnswer { settlement: stored.settlement, first_time: false, differs });
        }
        let Some(order) = self.orders.get_mut(order_id) else { return Err(Missing::Order(*order_id).into()) };
        let settlement = payment::settle(order, *event);
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

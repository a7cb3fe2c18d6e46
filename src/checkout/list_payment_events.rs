//! ListPaymentEvents: lists the payment events that were taken, newest first.

use super::{
    Checkout,
    page::{Page, PagePosition, PageRequest},
};
use crate::{
    db::{
        Connection, Database,
        payment_webhooks::{self, ListedEvent},
    },
    domain::{IdempotencyKey, OrderId, PaymentEventId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of an event beside its texts, at most.
const ENTRY_BYTES: usize = 160;

/// Asks which payment events were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPaymentEvents {
    /// Of what.
    pub of: EventsOf,
    /// Which page.
    pub page: PageRequest,
}

/// Says whose payment events to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsOf {
    /// The events of this order.
    Order(OrderId),
    /// The event with this key.
    Key(IdempotencyKey),
}

/// Runs ListPaymentEvents commands, one by one.
pub struct ListPaymentEventsBatch {
    database: Database,
}

impl ListPaymentEventsBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl RunOne for ListPaymentEventsBatch {
    type Command = ListPaymentEvents;
    type Answer = Page<ListedEvent>;

    const NAME: &'static str = "list_payment_events";

    async fn run_one(
        &self,
        command: &ListPaymentEvents,
        _calls: Calls<'_, ListPaymentEvents>,
    ) -> Result<Page<ListedEvent>, Error> {
        let ListPaymentEvents { of, page: PageRequest { size, after } } = command;
        let before = after.map(|position| PaymentEventId::stored(position.id));
        let events = self
            .database
            .read("list_payment_events", async |conn: &mut Connection, _attempt| match of {
                EventsOf::Order(order_id) => payment_webhooks::of_order(conn, *order_id, before, size + 1).await,
                EventsOf::Key(key) => Ok(payment_webhooks::with_key(conn, key).await?.into_iter().collect()),
            })
            .await?;
        Ok(Page::of(events, *size, bytes, |event| PagePosition::of_id(event.id.get())))
    }
}

fn bytes(listed: &ListedEvent) -> usize {
    let payment_id = listed.event.event.payment_id.as_ref().map_or(0, |payment_id| payment_id.as_bytes().len());
    listed.idempotency_key.as_bytes().len() + payment_id + ENTRY_BYTES
}

impl Checkout {
    /// Lists the payment events that were taken, newest first.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_payment_events(&self, command: ListPaymentEvents) -> Result<Page<ListedEvent>, Error> {
        self.list_payment_events.submit(LaneKey::WholeUseCase, command).await
    }
}

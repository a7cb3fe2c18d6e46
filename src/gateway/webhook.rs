//! Delivers payment events to the server, whoever sent them. A delivery that the server has not logged is logged here,
//! and only here.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::body::Body;
use http::{HeaderMap, request::Parts};
use tracing::{debug, error, field, warn};

use super::{
    body,
    reply::{Asked, Reply},
    request::{
        self, BadWebhook, Event,
        stripe::{self, Ignored},
    },
    signature::{
        SignatureError,
        standard::WebhookAuth,
        stripe::{StripeSecret, verify},
    },
    upstream::{CallError, Upstream},
};
use crate::{listener::Peer, metrics, pb::HandlePaymentWebhookResponse, telemetry::Few};

/// Says how the sender of an event signs and writes it.
#[derive(Clone, Copy)]
pub(super) enum Sender<'a> {
    /// It signs by Standard Webhooks and writes this project's own fields.
    Standard(&'a WebhookAuth),
    /// It is Stripe. The event is signed with one of these secrets.
    Stripe(&'a [StripeSecret]),
}

/// Says what became of an event that was believed and understood.
pub(super) enum Delivered {
    /// The server has handled it.
    Handled(HandlePaymentWebhookResponse),
    /// It is about no order.
    Ignored(Ignored),
}

impl Sender<'_> {
    fn verify(self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), SignatureError> {
        match self {
            Self::Standard(auth) => auth.verify(headers, body, now),
            Self::Stripe(secrets) => verify(secrets, headers, body, now),
        }
    }

    fn read(self, headers: &HeaderMap, body: &[u8]) -> Result<Event, BadWebhook> {
        match self {
            Self::Standard(_) => request::payment_webhook(headers, body).map(Event::Payment),
            Self::Stripe(_) => stripe::event(headers, body),
        }
    }
}

/// Holds what the gateway has read of a delivery.
#[derive(Default)]
struct Delivery {
    idempotency_key: Option<String>,
    order_id: Option<i64>,
}

/// Says why a delivery got no response.
enum Undelivered {
    /// Nobody knows who sent it.
    Unbelieved(Reply, &'static str),
    /// The gateway refused it.
    Refused(Reply),
    /// The server refused it, or could not be called.
    Failed(CallError),
}

impl From<Reply> for Undelivered {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

/// Shows the counter of ignored events from the start: an alarm can't watch a metric that doesn't exist.
pub(super) fn show_ignored_events() {
    metrics::show_ignored_events(Ignored::event_types());
}

/// Checks an event, hands it to the server, and logs it unless the server has logged it.
///
/// Of those that anybody can send, `few` says which are logged.
pub(super) async fn deliver(
    upstream: &Upstream,
    few: &Few,
    sender: Sender<'_>,
    head: &Parts,
    body: Body,
) -> Result<Delivered, Reply> {
    let mut delivery = Delivery::default();
    let ended = delivery.run(upstream, sender, head, body).await;
    ended.map_err(|undelivered| {
        delivery.log(&undelivered, few, head);
        match undelivered {
            Undelivered::Unbelieved(reply, _) | Undelivered::Refused(reply) => reply,
            Undelivered::Failed(failure) => Reply::from_call(&failure, Asked::Webhook),
        }
    })
}

impl Delivery {
    async fn run(
        &mut self,
        upstream: &Upstream,
        sender: Sender<'_>,
        head: &Parts,
        body: Body,
    ) -> Result<Delivered, Undelivered> {
        let body = read_signed(sender, head, body).await?;
        let event = sender.read(&head.headers, &body).map_err(|bad: BadWebhook| {
            (self.idempotency_key, self.order_id) = (bad.idempotency_key, bad.order_id);
            Reply::from(bad.fault)
        })?;
        let message = match event {
            Event::Payment(message) => message,
            Event::Ignored(ignored) => {
                metrics::count_ignored_event(ignored.event_type);
                debug!(r#type = ignored.event_type, "Stripe event ignored");
                return Ok(Delivered::Ignored(ignored));
            }
        };
        (self.idempotency_key, self.order_id) = (Some(message.idempotency_key.clone()), Some(message.order_id));
        let handled = upstream.handle_payment_webhook(&head.headers, message).await.map_err(Undelivered::Failed)?;
        Ok(Delivered::Handled(handled))
    }

    fn log(&self, why: &Undelivered, few: &Few, head: &Parts) {
        let (idempotency_key, order_id) = (self.idempotency_key.as_deref(), self.order_id);
        match why {
            Undelivered::Unbelieved(reply, cause) => {
                let Some(left_out) = few.is_due() else { return };
                let peer = head.extensions.get::<Arc<Peer>>().and_then(|peer| peer.address);
                warn!(
                    reason = reply.reason(),
                    cause,
                    peer = peer.map(field::display),
                    left_out,
                    "Payment webhook refused"
                );
            }
            Undelivered::Refused(reply) => {
                warn!(reason = reply.reason(), idempotency_key, order_id, "Payment webhook refused");
            }
            // The server has logged what it refused.
            Undelivered::Failed(CallError::Refused(_)) => {}
            Undelivered::Failed(failure) => {
                error!(error = %failure, idempotency_key, order_id, "Payment webhook failed");
            }
        }
    }
}

/// Reads the body of a webhook and checks its signature, before anything reads the JSON.
async fn read_signed(sender: Sender<'_>, head: &Parts, body: Body) -> Result<Vec<u8>, Undelivered> {
    let unread = |error| Undelivered::Unbelieved(Reply::from(error), "body");
    let body = body::read(&head.headers, body).await.map_err(unread)?;
    sender.verify(&head.headers, &body, unix_now()).map_err(|error| {
        metrics::count_bad_signature(error.name());
        Undelivered::Unbelieved(Reply::unauthenticated(), error.name())
    })?;
    Ok(body)
}

/// Returns the seconds since 1970 by the system clock, or 0 where it shows an earlier time.
fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

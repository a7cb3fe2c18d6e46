//! Reads the events that Stripe sends to POST /api/payments/stripe.
//!
//! | in the event | becomes |
//! |---|---|
//! | `id` | `idempotency_key` |
//! | `type` | `status`: `payment_intent.succeeded` is SUCCESS, `.payment_failed` is ATTEMPT_FAILED, `.canceled` is FAILURE |
//! | `data.object.id` | `payment_id` |
//! | `data.object.metadata.order_id` | `order_id`; the shop has put it there, as a string of digits |
//! | `data.object.amount_received` | `amount_cents` of a success |
//!
//! All other events are ignored: those of another type, and those of payments whose metadata have no `order_id`. One
//! account at Stripe may serve other purposes beside this shop.

use http::HeaderMap;

use super::{BadWebhook, Event, INTEGER_64, JsonFields, STRING, decimal_id};
use crate::pb::PaymentStatus;

const ORDER_ID: &str = "data.object.metadata.order_id";
const DIGITS: &str = "must be a string of digits, from 1 to 2^63 - 1";

/// Lists the types that settle orders.
const TYPES: [(&str, PaymentStatus); 3] = [
    ("payment_intent.succeeded", PaymentStatus::Success),
    ("payment_intent.payment_failed", PaymentStatus::AttemptFailed),
    ("payment_intent.canceled", PaymentStatus::Failure),
];
/// Stands for all other types in metrics.
const OTHER_TYPE: &str = "_OTHER";

/// Says why an event is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Ignored {
    /// The event's type, if it is one that settles orders, else `_OTHER`.
    pub(in crate::gateway) event_type: &'static str,
}

impl Ignored {
    /// Returns each value that `event_type` may have.
    pub(in crate::gateway) fn event_types() -> impl Iterator<Item = &'static str> {
        TYPES.into_iter().map(|(event_type, _)| event_type).chain([OTHER_TYPE])
    }

    /// Returns the reason, for the person who looks at the answer in Stripe's dashboard.
    pub(in crate::gateway) fn message(self) -> &'static str {
        match self.event_type {
            OTHER_TYPE => "Events of this type are not used here",
            _ => "The metadata of this payment have no order_id, so it pays no order here",
        }
    }
}

/// Reads an event, whose signature has been checked.
pub(in crate::gateway) fn event(headers: &HeaderMap, body: &[u8]) -> Result<Event, BadWebhook> {
    let mut fields = JsonFields::of(headers, body)?;
    let idempotency_key = fields.required("id", STRING);
    let Some(named) = fields.required::<String>("type", STRING) else {
        return Err(fields.bad_webhook(idempotency_key, None));
    };
    let Some((event_type, status)) = TYPES.into_iter().find(|(event_type, _)| *event_type == named) else {
        return Ok(Event::Ignored(Ignored { event_type: OTHER_TYPE }));
    };
    if fields.raw(ORDER_ID).is_none() {
        return Ok(Event::Ignored(Ignored { event_type }));
    }
    let order_id = fields.digits(ORDER_ID);
    let payment_id = fields.required("data.object.id", STRING);
    let amount_cents = match status {
        PaymentStatus::Success => fields.required("data.object.amount_received", INTEGER_64),
        PaymentStatus::Failure | PaymentStatus::AttemptFailed | PaymentStatus::Unspecified => None,
    };
    let event = fields.payment_event(idempotency_key, order_id, Some(status), amount_cents, payment_id)?;
    Ok(Event::Payment(event))
}

impl JsonFields<'_> {
    /// Reads an id that is written as a string of digits.
    fn digits(&mut self, path: &'static str) -> Option<i64> {
        let digits: String = self.required(path, DIGITS)?;
        decimal_id(&digits).or_else(|| self.fault(path, DIGITS))
    }
}

#[cfg(test)]
mod tests;

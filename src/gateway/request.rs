//! From HTTP to proto: headers and JSON bodies become requests, or every field of a wrong type is named at once.
//!
//! A body is a JSON object. Unknown fields are ignored, the last of several fields with one name counts, and `null` is
//! the same as absent. A number must be written as an integer, so `5.0`, `5e0` and `"5"` are refused.
//!
//! This file checks types only. The server checks bounds, such as the length of a key, and names the fields in the same
//! way.
//!
//! | field | where | type |
//! |---|---|---|
//! | `product_id`, `hold_id`, `order_id` | body | required, 64-bit integer |
//! | `qty` | body | required, 32-bit integer, in units |
//! | `buyer_id` | body | optional, string |
//! | `expected_unit_price_cents` | body | optional, 64-bit integer |
//! | `idempotency_key` | body | required, string, passed on byte for byte |
//! | `status` | body | required, `success`, `failure` or `attempt_failed` |
//! | `amount_cents` | body | optional, 64-bit integer |
//! | `payment_id` | body | optional, string |
//! | `Idempotency-Key` | header | optional, at most once, ASCII text; becomes `request_id` |
//!
//! The fields of Stripe's events are in [`stripe`].

pub(super) mod stripe;

use std::collections::HashMap;

use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::pb::{CreateHoldRequest, CreateOrderRequest, HandlePaymentWebhookRequest, PaymentStatus};

/// Names the header that makes a call repeatable.
pub(super) const REQUEST_ID_HEADER: &str = "Idempotency-Key";

const REQUIRED: &str = "is required";
const INTEGER_64: &str = "must be an integer of 64 bits";
const INTEGER_32: &str = "must be an integer of 32 bits";
const STRING: &str = "must be a string";
const ASCII_HEADER: &str = "must be given once, in ASCII";
const EVENT_STATUS: &str = "must be \"success\", \"failure\" or \"attempt_failed\"";

/// Says what is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadRequest {
    /// The body is compressed, or encoded in another way.
    Encoded,
    /// The content type isn't JSON.
    NotDeclaredJson,
    /// The body isn't JSON.
    NotJson,
    /// The body is JSON, but not an object.
    NotAnObject,
    /// At least one field has the wrong type. Each comes with what it must be.
    Fields(Vec<(&'static str, &'static str)>),
}

/// Holds what an event asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// It is about the payment of an order.
    Payment(HandlePaymentWebhookRequest),
    /// It is about no order.
    Ignored(stripe::Ignored),
}

/// Says what is wrong with a webhook, and holds what could be read of it nonetheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadWebhook {
    /// What is wrong.
    pub(super) fault: BadRequest,
    /// The event's key, where it could be read.
    pub(super) idempotency_key: Option<String>,
    /// The order, where it could be read.
    pub(super) order_id: Option<i64>,
}

impl From<BadRequest> for BadWebhook {
    fn from(fault: BadRequest) -> Self {
        Self { fault, idempotency_key: None, order_id: None }
    }
}

/// Reads an id that is written as text: decimal digits, from 1 to 2^63-1. Any other text names nothing.
pub(super) fn decimal_id(text: &str) -> Option<i64> {
    // `parse` alone would accept a sign, too.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id >= 1)
}

/// Reads the body and header of POST /api/holds.
pub(super) fn create_hold(headers: &HeaderMap, body: &[u8]) -> Result<CreateHoldRequest, BadRequest> {
    let mut fields = JsonFields::of(headers, body)?;
    let product_id = fields.required("product_id", INTEGER_64);
    let qty = fields.required("qty", INTEGER_32);
    let buyer_id = fields.optional("buyer_id", STRING);
    let expected_unit_price_cents = fields.optional("expected_unit_price_cents", INTEGER_64);
    let request_id = fields.request_id(headers);
    match (product_id, qty, fields.faults.is_empty()) {
        (Some(product_id), Some(qty), true) => {
            Ok(CreateHoldRequest { product_id, qty, request_id, buyer_id, expected_unit_price_cents })
        }
        _ => Err(BadRequest::Fields(fields.faults)),
    }
}

/// Reads the body and header of POST /api/orders.
pub(super) fn create_order(headers: &HeaderMap, body: &[u8]) -> Result<CreateOrderRequest, BadRequest> {
    let mut fields = JsonFields::of(headers, body)?;
    let hold_id = fields.required("hold_id", INTEGER_64);
    let request_id = fields.request_id(headers);
    match (hold_id, fields.faults.is_empty()) {
        (Some(hold_id), true) => Ok(CreateOrderRequest { hold_id, request_id, buyer_id: None }),
        _ => Err(BadRequest::Fields(fields.faults)),
    }
}

/// Reads the body of POST /api/payments/webhook, whose signature has been checked.
pub(super) fn payment_webhook(headers: &HeaderMap, body: &[u8]) -> Result<HandlePaymentWebhookRequest, BadWebhook> {
    let mut fields = JsonFields::of(headers, body)?;
    let idempotency_key = fields.required("idempotency_key", STRING);
    let order_id = fields.required("order_id", INTEGER_64);
    let status = fields.event_status("status");
    let amount_cents = fields.optional("amount_cents", INTEGER_64);
    let payment_id = fields.optional("payment_id", STRING);
    fields.payment_event(idempotency_key, order_id, status, amount_cents, payment_id)
}

/// Whether the body is sent as it is: no content encoding is named, or only `identity`.
fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Whether the one content type is `application/json` or `application/*+json`, with any parameters.
fn is_declared_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let media_type = value.split(';').next().unwrap_or(value).trim();
    let Some((kind, subtype)) = media_type.split_once('/') else {
        return false;
    };
    let subtype = subtype.to_ascii_lowercase();
    kind.eq_ignore_ascii_case("application")
        && (subtype == "json" || subtype.strip_suffix("+json").is_some_and(|it| !it.is_empty()))
}

/// Holds a JSON object's fields as they are written, and the faults found while reading them.
struct JsonFields<'a> {
    values: HashMap<String, &'a RawValue>,
    faults: Vec<(&'static str, &'static str)>,
}

impl<'a> JsonFields<'a> {
    fn of(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, BadRequest> {
        if !is_plain(headers) {
            return Err(BadRequest::Encoded);
        }
        if !is_declared_json(headers) {
            return Err(BadRequest::NotDeclaredJson);
        }
        // Raw values: a number that is too large, in a field that nobody asked for, does no harm.
        let whole: &RawValue = serde_json::from_slice(body).map_err(|_| BadRequest::NotJson)?;
        if !whole.get().trim_start().starts_with('{') {
            return Err(BadRequest::NotAnObject);
        }
        let values = serde_json::from_str(whole.get()).map_err(|_| BadRequest::NotJson)?;
        Ok(Self { values, faults: Vec::new() })
    }

    /// Returns the text of a field. `null` is the same as absent.
    ///
    /// The name of a field in an object inside has the names of the outer objects before it, like `data.object.id`.
    fn raw(&self, name: &str) -> Option<&'a str> {
        let mut names = name.split('.');
        let mut value = self.values.get(names.next()?)?.get();
        for name in names {
            let inner: HashMap<String, &'a RawValue> = serde_json::from_str(value).ok()?;
            value = inner.get(name)?.get();
        }
        (value != "null").then_some(value)
    }

    fn fault<T>(&mut self, field: &'static str, problem: &'static str) -> Option<T> {
        self.faults.push((field, problem));
        None
    }

    /// Reads a field that may be absent. `problem` says which type it must have.
    fn optional<T: DeserializeOwned>(&mut self, name: &'static str, problem: &'static str) -> Option<T> {
        let value = serde_json::from_str(self.raw(name)?).ok();
        value.or_else(|| self.fault(name, problem))
    }

    /// Reads a field that must be there. `problem` says which type it must have.
    fn required<T: DeserializeOwned>(&mut self, name: &'static str, problem: &'static str) -> Option<T> {
        match self.raw(name) {
            Some(_) => self.optional(name, problem),
            None => self.fault(name, REQUIRED),
        }
    }

    fn event_status(&mut self, name: &'static str) -> Option<PaymentStatus> {
        let status: String = self.required(name, EVENT_STATUS)?;
        match status.as_str() {
            "success" => Some(PaymentStatus::Success),
            "failure" => Some(PaymentStatus::Failure),
            "attempt_failed" => Some(PaymentStatus::AttemptFailed),
            _ => self.fault(name, EVENT_STATUS),
        }
    }

    /// Makes the request of a payment event from its fields, unless one is at fault.
    fn payment_event(
        self,
        idempotency_key: Option<String>,
        order_id: Option<i64>,
        status: Option<PaymentStatus>,
        amount_cents: Option<i64>,
        payment_id: Option<String>,
    ) -> Result<HandlePaymentWebhookRequest, BadWebhook> {
        match (idempotency_key, order_id, status, self.faults.is_empty()) {
            (Some(idempotency_key), Some(order_id), Some(status), true) => {
                let status = status.into();
                Ok(HandlePaymentWebhookRequest { idempotency_key, order_id, status, amount_cents, payment_id })
            }
            (idempotency_key, order_id, _, _) => Err(self.bad_webhook(idempotency_key, order_id)),
        }
    }

    fn bad_webhook(self, idempotency_key: Option<String>, order_id: Option<i64>) -> BadWebhook {
        BadWebhook { fault: BadRequest::Fields(self.faults), idempotency_key, order_id }
    }

    fn request_id(&mut self, headers: &HeaderMap) -> Option<String> {
        let mut values = headers.get_all(REQUEST_ID_HEADER).iter();
        let text = values.next()?.to_str().ok();
        match (text, values.next()) {
            (Some(text), None) => Some(text.to_owned()),
            (Some(_) | None, _) => self.fault(REQUEST_ID_HEADER, ASCII_HEADER),
        }
    }
}

#[cfg(test)]
mod tests;

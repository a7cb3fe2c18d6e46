//! From HTTP to proto: headers and JSON bodies become requests, or every field at fault is named at once.
//!
//! A body is a JSON object. Unknown fields are tolerated, of a repeated field the last one counts, and `null` is the
//! same as absent. Numbers must be written as integers: `5.0`, `5e0` and `"5"` are none.
//!
//! | field | where | bounds |
//! |---|---|---|
//! | `product_id`, `hold_id`, `order_id` | body | required, integer, 1 to 2^63-1 |
//! | `qty` | body | required, integer, 1 to 2^31-1, in units |
//! | `buyer_id` | body | optional, 1 to 64 visible ASCII characters |
//! | `idempotency_key` | body | required, string, 1 to 255 bytes, passed on byte for byte |
//! | `status` | body | required, `success` or `failure` |
//! | `amount_cents` | body | optional, integer, 0 to 2^63-1 |
//! | `Idempotency-Key` | header | optional, at most once, 1 to 64 visible ASCII characters; becomes `request_id` |

use std::collections::HashMap;

use http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::value::RawValue;

use crate::pb::{CreateHoldRequest, CreateOrderRequest, HandlePaymentWebhookRequest, PaymentStatus};

/// The header that makes a call repeatable.
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
const TOKEN_CHARACTERS_MAX: usize = 64;

const REQUIRED: &str = "is required";
const ID: &str = "must be an integer from 1 to 9223372036854775807";
const QTY: &str = "must be an integer from 1 to 2147483647";
const AMOUNT: &str = "must be an integer from 0 to 9223372036854775807";
const TOKEN: &str = "must be 1 to 64 visible ASCII characters";
const TOKEN_HEADER: &str = "must be given once, with 1 to 64 visible ASCII characters";
const EVENT_KEY: &str = "must be a string of 1 to 255 bytes";
const EVENT_STATUS: &str = "must be \"success\" or \"failure\"";

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadRequest {
    /// The content type isn't JSON.
    NotDeclaredJson,
    /// The body isn't JSON.
    NotJson,
    /// The body is JSON, but not an object.
    NotAnObject,
    /// These fields are at fault, each with what it must be. Never empty.
    Fields(Vec<(&'static str, &'static str)>),
}

/// What is wrong with a webhook, and what could be read of it nonetheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadWebhook {
    /// The fault.
    pub(super) fault: BadRequest,
    /// The event's key, if that is in order.
    pub(super) idempotency_key: Option<String>,
    /// The order, if that is in order.
    pub(super) order_id: Option<i64>,
}

impl From<BadRequest> for BadWebhook {
    fn from(fault: BadRequest) -> Self {
        Self { fault, idempotency_key: None, order_id: None }
    }
}

/// Reads an id in a path: decimal digits, from 1 to 2^63-1. Anything else names nothing.
pub(super) fn path_id(segment: &str) -> Option<i64> {
    // `parse` alone would also take a sign.
    if !segment.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    segment.parse().ok().filter(|id| *id >= 1)
}

/// Reads the body and header of POST /api/holds.
pub(super) fn create_hold(headers: &HeaderMap, body: &[u8]) -> Result<CreateHoldRequest, BadRequest> {
    let mut fields = Fields::of(headers, body)?;
    let product_id = fields.id("product_id");
    let qty = fields.qty("qty");
    let buyer_id = fields.token("buyer_id");
    let request_id = fields.request_id(headers);
    match (product_id, qty, fields.faults.is_empty()) {
        (Some(product_id), Some(qty), true) => Ok(CreateHoldRequest { product_id, qty, request_id, buyer_id }),
        _ => Err(BadRequest::Fields(fields.faults)),
    }
}

/// Reads the body and header of POST /api/orders.
pub(super) fn create_order(headers: &HeaderMap, body: &[u8]) -> Result<CreateOrderRequest, BadRequest> {
    let mut fields = Fields::of(headers, body)?;
    let hold_id = fields.id("hold_id");
    let request_id = fields.request_id(headers);
    match (hold_id, fields.faults.is_empty()) {
        (Some(hold_id), true) => Ok(CreateOrderRequest { hold_id, request_id }),
        _ => Err(BadRequest::Fields(fields.faults)),
    }
}

/// Reads the body of POST /api/payments/webhook, whose signature has been checked.
pub(super) fn payment_webhook(headers: &HeaderMap, body: &[u8]) -> Result<HandlePaymentWebhookRequest, BadWebhook> {
    let mut fields = Fields::of(headers, body)?;
    let idempotency_key = fields.event_key("idempotency_key");
    let order_id = fields.id("order_id");
    let status = fields.event_status("status");
    let amount_cents = fields.amount("amount_cents");
    match (idempotency_key, order_id, status, fields.faults.is_empty()) {
        (Some(idempotency_key), Some(order_id), Some(status), true) => {
            Ok(HandlePaymentWebhookRequest { idempotency_key, order_id, status: status.into(), amount_cents })
        }
        (idempotency_key, order_id, _, _) => {
            Err(BadWebhook { fault: BadRequest::Fields(fields.faults), idempotency_key, order_id })
        }
    }
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

/// A JSON object's fields as they are written, and the faults found while reading them.
struct Fields<'a> {
    values: HashMap<String, &'a RawValue>,
    faults: Vec<(&'static str, &'static str)>,
}

impl<'a> Fields<'a> {
    fn of(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, BadRequest> {
        if !is_declared_json(headers) {
            return Err(BadRequest::NotDeclaredJson);
        }
        // Raw values: a number too large for anything, in a field that nobody asked for, does no harm.
        let whole: &RawValue = serde_json::from_slice(body).map_err(|_| BadRequest::NotJson)?;
        if !whole.get().trim_start().starts_with('{') {
            return Err(BadRequest::NotAnObject);
        }
        let values = serde_json::from_str(whole.get()).map_err(|_| BadRequest::NotJson)?;
        Ok(Self { values, faults: Vec::new() })
    }

    /// The text of a field; `null` is absent.
    fn raw(&self, name: &str) -> Option<&'a str> {
        let value = self.values.get(name)?.get();
        (value != "null").then_some(value)
    }

    fn fault<T>(&mut self, field: &'static str, problem: &'static str) -> Option<T> {
        self.faults.push((field, problem));
        None
    }

    fn integer(&self, name: &str, least: i64) -> Option<i64> {
        let value = serde_json::from_str(self.raw(name)?).ok()?;
        (value >= least).then_some(value)
    }

    fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    fn id(&mut self, name: &'static str) -> Option<i64> {
        match (self.raw(name), self.integer(name, 1)) {
            (None, _) => self.fault(name, REQUIRED),
            (Some(_), None) => self.fault(name, ID),
            (Some(_), id) => id,
        }
    }

    fn qty(&mut self, name: &'static str) -> Option<i32> {
        let qty = self.integer(name, 1).and_then(|qty| i32::try_from(qty).ok());
        match (self.raw(name), qty) {
            (None, _) => self.fault(name, REQUIRED),
            (Some(_), None) => self.fault(name, QTY),
            (Some(_), qty) => qty,
        }
    }

    fn amount(&mut self, name: &'static str) -> Option<i64> {
        match (self.raw(name), self.integer(name, 0)) {
            (Some(_), None) => self.fault(name, AMOUNT),
            (_, amount) => amount,
        }
    }

    fn token(&mut self, name: &'static str) -> Option<String> {
        let token = self.string(name).filter(|token| is_token(token.as_bytes()));
        match (self.raw(name), token) {
            (Some(_), None) => self.fault(name, TOKEN),
            (_, token) => token,
        }
    }

    fn event_key(&mut self, name: &'static str) -> Option<String> {
        let key = self.string(name).filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
        match (self.raw(name), key) {
            (None, _) => self.fault(name, REQUIRED),
            (Some(_), None) => self.fault(name, EVENT_KEY),
            (Some(_), key) => key,
        }
    }

    fn event_status(&mut self, name: &'static str) -> Option<PaymentStatus> {
        match (self.raw(name), self.string(name).as_deref()) {
            (None, _) => self.fault(name, REQUIRED),
            (_, Some("success")) => Some(PaymentStatus::Success),
            (_, Some("failure")) => Some(PaymentStatus::Failure),
            (Some(_), _) => self.fault(name, EVENT_STATUS),
        }
    }

    fn request_id(&mut self, headers: &HeaderMap) -> Option<String> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let value = values.next()?;
        let token = is_token(value.as_bytes()).then(|| value.to_str().ok()).flatten();
        match (token, values.next()) {
            (Some(token), None) => Some(token.to_owned()),
            _ => self.fault(IDEMPOTENCY_KEY, TOKEN_HEADER),
        }
    }
}

fn is_token(bytes: &[u8]) -> bool {
    (1..=TOKEN_CHARACTERS_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests;

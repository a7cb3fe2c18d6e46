//! Turns the server's responses into JSON.
//!
//! Each conversion returns `None` for a response that the proto doesn't allow: a missing resource, an unknown status,
//! or a time out of range. That is a bug of the server and becomes a 500.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::request::stripe::Ignored;
use crate::pb::{
    CreateHoldResponse, CreateOrderResponse, GetProductResponse, HandlePaymentWebhookResponse, OrderStatus,
};

/// Shows a product, with its stock as it was after the request arrived.
#[derive(Debug, Serialize)]
pub(super) struct ProductAnswer {
    id: i64,
    name: String,
    price_cents: i64,
    available_stock: i64,
}

/// Shows a hold. `expires_at` is in UTC, and cut to whole seconds, so it is never later than the real end.
#[derive(Debug, Serialize)]
pub(super) struct HoldAnswer {
    hold_id: i64,
    expires_at: String,
}

/// Shows an order.
#[derive(Debug, Serialize)]
pub(super) struct OrderAnswer {
    order_id: i64,
    status: &'static str,
}

/// Shows a payment event that was handled. `refund_required` is there only when it is true.
#[derive(Debug, Serialize)]
pub(super) struct WebhookAnswer {
    order_id: i64,
    order_status: &'static str,
    idempotency_key: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refund_required: bool,
}

/// Shows an event that was ignored, and why.
#[derive(Debug, Serialize)]
pub(super) struct IgnoredAnswer {
    ignored: bool,
    message: &'static str,
}

impl ProductAnswer {
    pub(super) fn of(response: GetProductResponse) -> Option<Self> {
        let product = response.product?;
        Some(Self {
            id: product.product_id,
            name: product.name,
            price_cents: product.price_cents,
            available_stock: product.available_stock,
        })
    }
}

impl HoldAnswer {
    pub(super) fn of(response: CreateHoldResponse) -> Option<Self> {
        let hold = response.hold?;
        let expires_at = DateTime::from_timestamp(hold.expires_at?.seconds, 0)?;
        Some(Self { hold_id: hold.hold_id, expires_at: expires_at.to_rfc3339_opts(SecondsFormat::Secs, false) })
    }
}

impl OrderAnswer {
    pub(super) fn of(response: CreateOrderResponse) -> Option<Self> {
        let order = response.order?;
        Some(Self { order_id: order.order_id, status: order_status(order.status())? })
    }
}

impl WebhookAnswer {
    pub(super) fn of(response: HandlePaymentWebhookResponse) -> Option<Self> {
        Some(Self {
            order_id: response.order_id,
            order_status: order_status(response.order_status())?,
            idempotency_key: response.idempotency_key,
            refund_required: response.refund_required,
        })
    }
}

impl IgnoredAnswer {
    pub(super) fn of(ignored: Ignored) -> Self {
        Self { ignored: true, message: ignored.message() }
    }
}

fn order_status(status: OrderStatus) -> Option<&'static str> {
    match status {
        OrderStatus::Unspecified => None,
        OrderStatus::Pending => Some("pending"),
        OrderStatus::Paid => Some("paid"),
        OrderStatus::Cancelled => Some("cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::pb::{Hold, Order, Product};

    fn json(answer: impl Serialize) -> String {
        serde_json::to_string(&answer).unwrap()
    }

    fn hold(expires_at: Option<Timestamp>) -> CreateHoldResponse {
        CreateHoldResponse { hold: Some(Hold { hold_id: 123, expires_at, ..Hold::default() }) }
    }

    #[test]
    fn answers_are_written_as_documented() {
        let product = GetProductResponse {
            product: Some(Product {
                product_id: 1,
                name: "Flash Sale Item".to_owned(),
                price_cents: 1000,
                total_stock: 100,
                available_stock: 95,
                ..Product::default()
            }),
        };
        assert_eq!(
            json(ProductAnswer::of(product)),
            r#"{"id":1,"name":"Flash Sale Item","price_cents":1000,"available_stock":95}"#
        );
        let expires_at = Timestamp { seconds: 1_737_981_120, nanos: 999_999_000 };
        assert_eq!(
            json(HoldAnswer::of(hold(Some(expires_at)))),
            r#"{"hold_id":123,"expires_at":"2025-01-27T12:32:00+00:00"}"#
        );
        let order = CreateOrderResponse {
            order: Some(Order { order_id: 456, status: OrderStatus::Pending.into(), ..Order::default() }),
        };
        assert_eq!(json(OrderAnswer::of(order)), r#"{"order_id":456,"status":"pending"}"#);
    }

    #[test]
    fn a_webhook_answer_mentions_a_refund_only_when_one_is_due() {
        let handled = |order_status: OrderStatus, refund_required| HandlePaymentWebhookResponse {
            order_id: 456,
            order_status: order_status.into(),
            idempotency_key: "webhook-key-123".to_owned(),
            first_time: true,
            refund_required,
        };
        assert_eq!(
            json(WebhookAnswer::of(handled(OrderStatus::Paid, false))),
            r#"{"order_id":456,"order_status":"paid","idempotency_key":"webhook-key-123"}"#
        );
        assert_eq!(
            json(WebhookAnswer::of(handled(OrderStatus::Cancelled, true))),
            r#"{"order_id":456,"order_status":"cancelled","idempotency_key":"webhook-key-123","refund_required":true}"#
        );
    }

    #[test]
    fn a_response_that_the_proto_does_not_allow_has_no_answer() {
        assert!(ProductAnswer::of(GetProductResponse { product: None }).is_none());
        assert!(HoldAnswer::of(CreateHoldResponse { hold: None }).is_none());
        assert!(HoldAnswer::of(hold(None)).is_none());
        let never = Timestamp { seconds: i64::MAX, nanos: 0 };
        assert!(HoldAnswer::of(hold(Some(never))).is_none());
        let unspecified = CreateOrderResponse { order: Some(Order::default()) };
        assert!(OrderAnswer::of(unspecified).is_none());
        assert!(WebhookAnswer::of(HandlePaymentWebhookResponse::default()).is_none());
    }
}

//! Turns messages into the types of the domain, and back.

use std::time::SystemTime;

use prost_types::Timestamp;
use tonic::Status;
use tracing::error;

use super::{status, weight::VIOLATIONS_MAX};
use crate::{
    checkout::{ListedEvent, ProductView, StoredEvent},
    domain::{
        FieldChange, Hold, HoldStatus, Invalid, OperatorAction, Order, OrderStatus, PaymentException,
        PaymentExceptionKind, PaymentResult, PaymentStatus, ProductId, SaleStats, payment_exception::Resolution,
    },
    error::Error,
    pb,
};

/// Is 9999-12-31T23:59:59Z, the last second that RFC 3339 and DATETIME(6) can write.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Collects the invalid fields of a request, so that one answer names all of them: 16 at most.
#[derive(Debug, Default)]
pub(super) struct BadFields {
    invalid: Vec<Invalid>,
}

impl BadFields {
    /// Returns a field's value. `None`: it is invalid.
    pub(super) fn take<T>(&mut self, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_err(|invalid| self.name(invalid)).ok()
    }

    /// Names an invalid field, unless many are named already.
    pub(super) fn name(&mut self, invalid: Invalid) {
        if self.invalid.len() < VIOLATIONS_MAX {
            self.invalid.push(invalid);
        }
    }

    /// Returns the value of an optional field: `Some(None)` where it is absent, `None` where it is invalid.
    pub(super) fn take_optional<T>(&mut self, parsed: Option<Result<T, Invalid>>) -> Option<Option<T>> {
        match parsed {
            None => Some(None),
            Some(parsed) => self.take(parsed).map(Some),
        }
    }

    /// Whether all fields were valid so far.
    pub(super) fn is_empty(&self) -> bool {
        self.invalid.is_empty()
    }

    /// Returns the error that names the invalid fields.
    pub(super) fn error(self) -> Error {
        Error::Invalid(self.invalid)
    }
}

/// Returns the status of a call that failed. Logs the cause of a bug, which the caller isn't told.
pub(super) fn failed(error: Error) -> Status {
    if let Error::Internal(cause) = &error {
        error!(cause, "Internal error");
    }
    status::of(&error)
}

/// Reads an amount of money or units: at least 0.
pub(super) fn not_negative(field: &'static str, value: i64) -> Result<i64, Invalid> {
    if value < 0 {
        return Err(Invalid::new(field, format!("must be at least 0, got {value}")));
    }
    Ok(value)
}

/// Reads the limit for one buyer: at least 1.
pub(super) fn limit(field: &'static str, value: i32) -> Result<i32, Invalid> {
    if value < 1 {
        return Err(Invalid::new(field, format!("must be at least 1, got {value}")));
    }
    Ok(value)
}

/// Reads a time from the year 1970 to 9999, and cuts it to the microseconds that the database keeps.
pub(super) fn timestamp(field: &'static str, value: Timestamp) -> Result<SystemTime, Invalid> {
    let Timestamp { seconds, nanos } = value;
    if !(0..=SECONDS_MAX).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(Invalid::new(field, "must be a time from the year 1970 to 9999"));
    }
    let whole_micros = Timestamp { seconds, nanos: nanos / 1000 * 1000 };
    SystemTime::try_from(whole_micros).map_err(|error| Invalid::new(field, error.to_string()))
}

pub(super) fn product(ProductView { name, product }: ProductView) -> pb::Product {
    pb::Product {
        product_id: product.id.get(),
        name: name.to_string(),
        price_cents: product.price_cents,
        total_stock: product.total_stock,
        available_stock: product.available_stock,
        max_per_buyer: product.max_per_buyer,
        starts_at: product.starts_at.map(Timestamp::from),
        ends_at: product.ends_at.map(Timestamp::from),
        paused: product.paused,
    }
}

pub(super) fn hold(hold: Hold) -> pb::Hold {
    let Hold { id, product_id, qty, unit_price_cents, status, expires_at, created_at, buyer_id } = hold;
    let status = match status {
        HoldStatus::Active => pb::HoldStatus::Active,
        HoldStatus::Used => pb::HoldStatus::Used,
        HoldStatus::Expired => pb::HoldStatus::Expired,
        HoldStatus::Cancelled => pb::HoldStatus::Cancelled,
    };
    pb::Hold {
        hold_id: id.get(),
        product_id: product_id.get(),
        qty: qty.get(),
        unit_price_cents,
        status: status.into(),
        expires_at: Some(Timestamp::from(expires_at)),
        created_at: Some(Timestamp::from(created_at)),
        buyer_id: buyer_id.map(|buyer_id| buyer_id.to_string()),
    }
}

pub(super) fn order_status(status: OrderStatus) -> pb::OrderStatus {
    match status {
        OrderStatus::Pending => pb::OrderStatus::Pending,
        OrderStatus::Paid => pb::OrderStatus::Paid,
        OrderStatus::Cancelled => pb::OrderStatus::Cancelled,
    }
}

pub(super) fn order(order: Order) -> pb::Order {
    pb::Order {
        order_id: order.id.get(),
        hold_id: order.hold_id.get(),
        product_id: order.product_id.get(),
        qty: order.qty.get(),
        amount_cents: order.amount_cents,
        status: order_status(order.status).into(),
        payment_due_at: order.payment_due_at.map(Timestamp::from),
        created_at: Some(Timestamp::from(order.created_at)),
        buyer_id: order.buyer_id.map(|buyer_id| buyer_id.to_string()),
        settled_at: order.settled_at.map(Timestamp::from),
    }
}

pub(super) fn payment_event(listed: ListedEvent) -> pb::PaymentEvent {
    let ListedEvent { id, idempotency_key, event: StoredEvent { order_id, event, settlement }, created_at } = listed;
    let status = match event.status {
        PaymentStatus::Success => pb::PaymentStatus::Success,
        PaymentStatus::Failure => pb::PaymentStatus::Failure,
        PaymentStatus::AttemptFailed => pb::PaymentStatus::AttemptFailed,
    };
    let result = match settlement.result {
        PaymentResult::Applied => pb::PaymentEventResult::Applied,
        PaymentResult::Unchanged => pb::PaymentEventResult::Unchanged,
        PaymentResult::LateSuccess => pb::PaymentEventResult::LateSuccess,
        PaymentResult::DuplicateSuccess => pb::PaymentEventResult::DuplicateSuccess,
        PaymentResult::AmountMismatch => pb::PaymentEventResult::AmountMismatch,
        PaymentResult::AttemptFailed => pb::PaymentEventResult::AttemptFailed,
    };
    pb::PaymentEvent {
        event_id: id.get(),
        idempotency_key: idempotency_key.to_string(),
        order_id: order_id.get(),
        status: status.into(),
        amount_cents: event.amount_cents,
        payment_id: event.payment_id.map(|payment_id| payment_id.to_string()),
        order_status: order_status(settlement.order_status).into(),
        result: result.into(),
        created_at: Some(Timestamp::from(created_at)),
    }
}

pub(super) fn operator_action(action: OperatorAction) -> pb::OperatorAction {
    let change = |FieldChange { field, before, after }| pb::FieldChange { field, before, after };
    pb::OperatorAction {
        action_id: action.id.get(),
        created_at: Some(Timestamp::from(action.created_at)),
        principal: action.principal.as_str().to_owned(),
        method: action.method,
        request_id: action.request_id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()),
        product_id: action.product_id.map(ProductId::get),
        changes: action.changes.into_iter().map(change).collect(),
    }
}

pub(super) fn sale_stats(stats: SaleStats) -> pb::GetSaleStatsResponse {
    pb::GetSaleStatsResponse {
        total_stock: stats.total_stock,
        available_stock: stats.available_stock,
        held_stock: stats.held_stock,
        pending_stock: stats.pending_stock,
        paid_stock: stats.paid_stock,
        holds_active: stats.holds_active,
        holds_used: stats.holds_used,
        holds_expired: stats.holds_expired,
        holds_cancelled: stats.holds_cancelled,
        orders_pending: stats.orders_pending,
        orders_paid: stats.orders_paid,
        orders_cancelled: stats.orders_cancelled,
    }
}

pub(super) fn payment_exception(exception: PaymentException) -> pb::PaymentException {
    let kind = match exception.kind {
        PaymentExceptionKind::LateSuccess => pb::PaymentExceptionKind::LateSuccess,
        PaymentExceptionKind::DuplicateSuccess => pb::PaymentExceptionKind::DuplicateSuccess,
        PaymentExceptionKind::AmountMismatch => pb::PaymentExceptionKind::AmountMismatch,
    };
    let resolution = exception.resolution.map(|Resolution { resolved_at, note, accepted: _ }| (resolved_at, note));
    let (resolved_at, note) = resolution.unzip();
    pb::PaymentException {
        exception_id: exception.id.get(),
        kind: kind.into(),
        order_id: exception.order_id.get(),
        idempotency_key: exception.key.to_string(),
        amount_cents: exception.amount_cents,
        created_at: Some(Timestamp::from(exception.created_at)),
        resolved_at: resolved_at.map(Timestamp::from),
        note: note.map(|note| note.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_cut_to_microseconds_and_bounded() {
        let time = timestamp("starts_at", Timestamp { seconds: 1, nanos: 1_999 }).unwrap();
        assert_eq!(Timestamp::from(time), Timestamp { seconds: 1, nanos: 1_000 });
        for (seconds, nanos) in
            [(-1, 0), (SECONDS_MAX + 1, 0), (i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)]
        {
            assert_eq!(timestamp("ends_at", Timestamp { seconds, nanos }).unwrap_err().field, "ends_at");
        }
    }

    #[test]
    fn all_bad_fields_are_named_at_once() {
        let mut bad = BadFields::default();
        assert_eq!(bad.take(not_negative("price_cents", -1)), None);
        assert_eq!(bad.take(not_negative("total_stock", 0)), Some(0));
        assert_eq!(bad.take_optional::<i64>(None), Some(None));
        assert_eq!(bad.take_optional(Some(not_negative("amount_cents", -2))), None);
        let Error::Invalid(invalid) = bad.error() else { panic!("not Invalid") };
        let names: Vec<&str> = invalid.iter().map(|invalid| invalid.field).collect();
        assert_eq!(names, ["price_cents", "amount_cents"]);
    }
}

//! What a payment event does to an order: the whole matrix.

use super::{
    ids::PaymentId,
    order::{Order, OrderStatus, SettledBy},
    payment_exception::PaymentExceptionKind,
};

/// Says what the payment provider reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentStatus {
    /// The money has arrived.
    Success,
    /// The payment failed for good.
    Failure,
    /// One attempt failed, such as a declined card. The buyer may try again.
    AttemptFailed,
}

/// Describes one event of the payment provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvent {
    /// What happened.
    pub status: PaymentStatus,
    /// What was paid in cents, where the provider says.
    pub amount_cents: Option<i64>,
    /// The payment that the event is about, where the provider says.
    pub payment_id: Option<PaymentId>,
}

impl PaymentEvent {
    /// Tells whether a repeat says something else than the `first` delivery of the event. An amount that only one of
    /// the two has is no contradiction.
    pub fn contradicts(&self, first: &Self) -> bool {
        let other_amount = self.amount_cents.zip(first.amount_cents).is_some_and(|(repeated, first)| repeated != first);
        self.status != first.status || other_amount
    }
}

/// Says what an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentResult {
    /// It paid or cancelled the order.
    Applied,
    /// It said what was known, or came too late to matter.
    Unchanged,
    /// It reported a failed attempt.
    AttemptFailed,
    /// Money for a cancelled order.
    LateSuccess,
    /// Money for an order that is paid.
    DuplicateSuccess,
    /// Money for a pending order, but another amount than it costs.
    AmountMismatch,
}

impl PaymentResult {
    /// Returns what a person has to look into, where the event's money has to be paid back.
    pub fn exception(self) -> Option<PaymentExceptionKind> {
        match self {
            Self::LateSuccess => Some(PaymentExceptionKind::LateSuccess),
            Self::DuplicateSuccess => Some(PaymentExceptionKind::DuplicateSuccess),
            Self::AmountMismatch => Some(PaymentExceptionKind::AmountMismatch),
            Self::Applied | Self::Unchanged | Self::AttemptFailed => None,
        }
    }

    /// Tells whether the event's money has to be paid back.
    pub fn refund_required(self) -> bool {
        self.exception().is_some()
    }

    /// Returns the name in logs, metrics and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::LateSuccess => "late_success",
            Self::DuplicateSuccess => "duplicate_success",
            Self::AmountMismatch => "amount_mismatch",
            Self::AttemptFailed => "attempt_failed",
        }
    }
}

/// Holds an order's status after an event, and what the event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The order's status from now on.
    pub order_status: OrderStatus,
    /// What the event did.
    pub result: PaymentResult,
}

impl Settlement {
    /// Returns what settles the order, where the event changes it.
    pub fn settled_by(&self) -> Option<SettledBy> {
        match (self.result, self.order_status) {
            (PaymentResult::Applied, OrderStatus::Paid) => Some(SettledBy::Payment),
            (PaymentResult::Applied, OrderStatus::Cancelled) => Some(SettledBy::Failure),
            (PaymentResult::Applied, OrderStatus::Pending) => None,
            (
                PaymentResult::Unchanged
                | PaymentResult::AttemptFailed
                | PaymentResult::LateSuccess
                | PaymentResult::DuplicateSuccess
                | PaymentResult::AmountMismatch,
                _,
            ) => None,
        }
    }
}

/// Decides what `event`, with a key not seen before, does to `order`.
pub fn settle(order: &Order, event: &PaymentEvent) -> Settlement {
    let unchanged = |result| Settlement { order_status: order.status, result };
    let applied = |changed: Option<OrderStatus>| match changed {
        Some(order_status) => Settlement { order_status, result: PaymentResult::Applied },
        None => unchanged(PaymentResult::Unchanged),
    };
    let pays_otherwise = event.amount_cents.is_some_and(|paid| paid != order.amount_cents);
    let is_of_the_same_payment = event.payment_id.is_some() && event.payment_id == order.payment_id;
    match (order.status, event.status) {
        (OrderStatus::Pending, PaymentStatus::Success) if pays_otherwise => unchanged(PaymentResult::AmountMismatch),
        (OrderStatus::Pending, PaymentStatus::Success) => applied(order.pay()),
        (OrderStatus::Pending, PaymentStatus::Failure) => applied(order.cancel()),
        (OrderStatus::Paid, PaymentStatus::Success) if is_of_the_same_payment => unchanged(PaymentResult::Unchanged),
        (OrderStatus::Paid, PaymentStatus::Success) => unchanged(PaymentResult::DuplicateSuccess),
        (OrderStatus::Cancelled, PaymentStatus::Success) => unchanged(PaymentResult::LateSuccess),
        (OrderStatus::Paid | OrderStatus::Cancelled, PaymentStatus::Failure) => unchanged(PaymentResult::Unchanged),
        (OrderStatus::Pending | OrderStatus::Paid | OrderStatus::Cancelled, PaymentStatus::AttemptFailed) => {
            unchanged(PaymentResult::AttemptFailed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::order::tests::order, *};

    #[test]
    fn a_repeat_contradicts_by_its_status_or_by_an_amount_where_both_have_one() {
        use PaymentStatus::*;
        for (first, repeated, contradicts) in [
            ((Success, Some(1)), (Success, Some(1)), false),
            ((Success, Some(1)), (Success, Some(2)), true),
            ((Success, Some(1)), (Success, None), false),
            ((Success, None), (Success, Some(1)), false),
            ((Success, None), (Failure, None), true),
            ((Failure, Some(1)), (Failure, Some(2)), true),
            ((Failure, None), (Failure, None), false),
        ] {
            let event = |(status, amount_cents)| PaymentEvent { status, amount_cents, payment_id: None };
            assert_eq!(event(repeated).contradicts(&event(first)), contradicts, "{first:?} {repeated:?}");
        }
    }

    #[test]
    fn every_cell_of_the_matrix() {
        use OrderStatus::*;
        use PaymentResult::{AmountMismatch, Applied, DuplicateSuccess, LateSuccess, Unchanged};
        use PaymentStatus::*;
        let right = Some(2000);
        let wrong = Some(1999);
        for (before, status, amount_cents, after, result, refund) in [
            (Pending, Success, None, Paid, Applied, false),
            (Pending, Success, right, Paid, Applied, false),
            (Pending, Success, wrong, Pending, AmountMismatch, true),
            (Pending, Failure, None, Cancelled, Applied, false),
            (Pending, Failure, wrong, Cancelled, Applied, false),
            (Paid, Failure, None, Paid, Unchanged, false),
            (Paid, Success, right, Paid, DuplicateSuccess, true),
            (Paid, Success, wrong, Paid, DuplicateSuccess, true),
            (Cancelled, Failure, None, Cancelled, Unchanged, false),
            (Cancelled, Success, right, Cancelled, LateSuccess, true),
            (Cancelled, Success, wrong, Cancelled, LateSuccess, true),
            (Pending, AttemptFailed, right, Pending, PaymentResult::AttemptFailed, false),
            (Paid, AttemptFailed, None, Paid, PaymentResult::AttemptFailed, false),
            (Cancelled, AttemptFailed, None, Cancelled, PaymentResult::AttemptFailed, false),
        ] {
            let settlement = settle(&order(before), &PaymentEvent { status, amount_cents, payment_id: None });
            let expected = Settlement { order_status: after, result };
            assert_eq!(settlement, expected, "{before:?} {status:?} {amount_cents:?}");
            assert_eq!(settlement.result.refund_required(), refund);
        }
    }

    #[test]
    fn only_another_event_of_the_payment_that_paid_asks_for_no_refund() {
        let id = |text: &str| Some(PaymentId::parse(text).unwrap());
        for (paid_by, payment_id, outcome) in [
            (id("pi_1"), id("pi_1"), PaymentResult::Unchanged),
            (id("pi_1"), id("pi_2"), PaymentResult::DuplicateSuccess),
            (id("pi_1"), id("PI_1"), PaymentResult::DuplicateSuccess),
            (id("pi_1"), None, PaymentResult::DuplicateSuccess),
            (None, id("pi_1"), PaymentResult::DuplicateSuccess),
            (None, None, PaymentResult::DuplicateSuccess),
        ] {
            let order = Order { payment_id: paid_by, ..order(OrderStatus::Paid) };
            let event = PaymentEvent { status: PaymentStatus::Success, amount_cents: Some(1), payment_id };
            let expected = Settlement { order_status: OrderStatus::Paid, result: outcome };
            assert_eq!(settle(&order, &event), expected, "{order:?} {event:?}");
        }
    }
}

//! A payment exception: money that its order could not take, and what was done about it.

use std::time::SystemTime;

use super::{
    ids::{IdempotencyKey, OrderId, PaymentExceptionId, ProductId, Remark},
    order::{Order, OrderStatus},
    refusal::Refusal,
};

/// Says what is wrong with a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentExceptionKind {
    /// It came for a cancelled order.
    LateSuccess,
    /// The order was paid before.
    DuplicateSuccess,
    /// It is another amount than the order costs.
    AmountMismatch,
}

/// Says what was done about an exception, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// When the operator resolved the exception.
    pub resolved_at: SystemTime,
    /// What was done.
    pub note: Remark,
    /// Whether the payment was accepted as payment of its order.
    pub accepted: bool,
}

/// Describes a payment that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentException {
    /// The exception's id.
    pub id: PaymentExceptionId,
    /// What is wrong.
    pub kind: PaymentExceptionKind,
    /// The id of the order that was paid for.
    pub order_id: OrderId,
    /// The id of the order's product.
    pub product_id: ProductId,
    /// The event's key.
    pub key: IdempotencyKey,
    /// What was paid in cents, where the provider said.
    pub amount_cents: Option<i64>,
    /// When the payment was handled.
    pub created_at: SystemTime,
    /// What was done about it. `None` means nothing yet.
    pub resolution: Option<Resolution>,
}

impl PaymentException {
    /// Resolves the exception, and tells whether this call did it. A resolved exception keeps its first note, because
    /// that note may be the only trace of a refund.
    pub fn resolve(&mut self, note: &Remark, now: SystemTime) -> bool {
        if self.resolution.is_some() {
            return false;
        }
        self.resolution = Some(Resolution { resolved_at: now, note: note.clone(), accepted: false });
        true
    }

    /// Accepts the payment as payment of `order`, and tells whether this call did it. A repeat changes nothing.
    pub fn accept(&mut self, order: &Order, note: &Remark, now: SystemTime) -> Result<bool, Refusal> {
        let refused = Err(Refusal::PaymentNotAcceptable);
        match (&self.resolution, self.kind, order.status) {
            (Some(Resolution { accepted: true, .. }), _, _) => Ok(false),
            (Some(Resolution { accepted: false, .. }), _, _) => refused,
            (None, PaymentExceptionKind::AmountMismatch, OrderStatus::Pending) => {
                self.resolution = Some(Resolution { resolved_at: now, note: note.clone(), accepted: true });
                Ok(true)
            }
            (None, PaymentExceptionKind::AmountMismatch, OrderStatus::Paid | OrderStatus::Cancelled)
            | (None, PaymentExceptionKind::LateSuccess | PaymentExceptionKind::DuplicateSuccess, _) => refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::order::tests::order, *};

    fn exception(kind: PaymentExceptionKind) -> PaymentException {
        PaymentException {
            id: PaymentExceptionId::stored(1),
            kind,
            order_id: OrderId::stored(1),
            product_id: ProductId::stored(1),
            key: IdempotencyKey::stored(b"key".to_vec()),
            amount_cents: None,
            created_at: SystemTime::UNIX_EPOCH,
            resolution: None,
        }
    }

    #[test]
    fn only_another_amount_for_a_pending_order_is_accepted_and_only_once() {
        use OrderStatus::*;
        use PaymentExceptionKind::*;
        let note = Remark::parse("note", "a cent off").unwrap();
        let now = SystemTime::UNIX_EPOCH;
        for (kind, status, accepted) in [
            (AmountMismatch, Pending, true),
            (AmountMismatch, Paid, false),
            (AmountMismatch, Cancelled, false),
            (LateSuccess, Pending, false),
            (LateSuccess, Cancelled, false),
            (DuplicateSuccess, Pending, false),
            (DuplicateSuccess, Paid, false),
        ] {
            let mut exception = exception(kind);
            let before = exception.clone();
            let expected = if accepted { Ok(true) } else { Err(Refusal::PaymentNotAcceptable) };
            assert_eq!(exception.accept(&order(status), &note, now), expected, "{kind:?} {status:?}");
            if !accepted {
                assert_eq!(exception, before);
                continue;
            }
            let first = exception.clone();
            let other = Remark::parse("note", "another note").unwrap();
            assert_eq!(exception.accept(&order(Paid), &other, now), Ok(false), "a repeat changes nothing");
            assert_eq!(exception, first);
        }
        let mut refunded = exception(AmountMismatch);
        assert!(refunded.resolve(&note, now));
        assert_eq!(refunded.accept(&order(Pending), &note, now), Err(Refusal::PaymentNotAcceptable));
    }

    #[test]
    fn an_exception_stays_as_it_was_resolved_first() {
        let mut exception = exception(PaymentExceptionKind::LateSuccess);
        let refunded = Remark::parse("note", "refunded").unwrap();
        assert!(exception.resolve(&refunded, SystemTime::UNIX_EPOCH));
        let first = exception.clone();
        assert_eq!(first.resolution.as_ref().unwrap().note, refunded);
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for note in ["refunded", "refunded twice"] {
            assert!(!exception.resolve(&Remark::parse("note", note).unwrap(), later));
            assert_eq!(exception, first);
        }
    }
}

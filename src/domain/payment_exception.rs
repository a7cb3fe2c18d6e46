//! A payment exception: money that its order could not take, and what was done about it.

use std::time::SystemTime;

use super::ids::{IdempotencyKey, OrderId, PaymentExceptionId, Remark};

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
        self.resolution = Some(Resolution { resolved_at: now, note: note.clone() });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_exception_stays_as_it_was_resolved_first() {
        let mut exception = PaymentException {
            id: PaymentExceptionId::stored(1),
            kind: PaymentExceptionKind::LateSuccess,
            order_id: OrderId::stored(2),
            key: IdempotencyKey::stored(b"key".to_vec()),
            amount_cents: None,
            created_at: SystemTime::UNIX_EPOCH,
            resolution: None,
        };
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

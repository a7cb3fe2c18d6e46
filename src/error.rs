//! The one error of a call: few kinds, each by what a caller can do about it.
//!
//! It is plain data. [`crate::grpc`] makes a status of it, and the gateway makes an HTTP answer of that. The lanes hand
//! one error to all callers of a batch, so it can be cloned and holds the text of its cause in place of the cause.

use thiserror::Error as ThisError;

use crate::domain::{HoldId, Invalid, OrderId, PaymentExceptionId, ProductId, Refusal, product::NotAdjustable};

/// Names something that a request asks for and that isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
pub enum Missing {
    /// No product has this id.
    #[error("no product has the id {0}")]
    Product(ProductId),
    /// No hold has this id.
    #[error("no hold has the id {0}")]
    Hold(HoldId),
    /// No order has this id.
    #[error("no order has the id {0}")]
    Order(OrderId),
    /// No payment exception has this id.
    #[error("no payment exception has the id {0}")]
    PaymentException(PaymentExceptionId),
}

/// Says why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum Error {
    /// At least one field is invalid. The caller has to send other values.
    #[error("{}", joined(.0))]
    Invalid(Vec<Invalid>),
    /// Something that the request names isn't there.
    #[error(transparent)]
    NotFound(#[from] Missing),
    /// The rules of the sale refuse it.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// Others kept the rows locked through all retries. The caller may try again.
    #[error("rows stayed locked by others through all retries")]
    LockContention,
    /// The database is away, the server is shutting down, or the outcome of a commit is unknown. The caller may try
    /// again with the same request_id.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Too many callers are waiting. The caller may try again later.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// The caller's deadline passed before the answer.
    #[error("the caller's deadline passed")]
    DeadlineExceeded,
    /// The program has a bug. The text is for the log, never for the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![invalid])
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotAdjustable> for Error {
    fn from(why: NotAdjustable) -> Self {
        match why {
            NotAdjustable::Invalid(invalid) => invalid.into(),
            NotAdjustable::Refused(refusal) => refusal.into(),
        }
    }
}

impl Error {
    /// Returns the reason, which callers switch on and logs name.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_ARGUMENT",
            Self::NotFound(Missing::Product(_)) => "PRODUCT_NOT_FOUND",
            Self::NotFound(Missing::Hold(_)) => "HOLD_NOT_FOUND",
            Self::NotFound(Missing::Order(_)) => "ORDER_NOT_FOUND",
            Self::NotFound(Missing::PaymentException(_)) => "PAYMENT_EXCEPTION_NOT_FOUND",
            Self::Refused(refusal) => refusal.reason(),
            Self::LockContention => "LOCK_CONTENTION",
            Self::Unavailable(_) => "DATABASE_UNAVAILABLE",
            Self::Overloaded(_) => "OVERLOADED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// Whether the same call may succeed later as it is.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::LockContention | Self::Unavailable(_) | Self::Overloaded(_) | Self::DeadlineExceeded => true,
            Self::Invalid(_) | Self::NotFound(_) | Self::Refused(_) | Self::Internal(_) => false,
        }
    }
}

fn joined(fields: &[Invalid]) -> String {
    let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    fields.join("; ")
}

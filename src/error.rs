//! The crate's one error: few kinds, each by what a caller can do about it. Plain data; [`crate::grpc`] makes a
//! status of it and the gateway an HTTP answer of that.

use std::fmt;

use crate::domain::{HoldId, Invalid, OrderId, PaymentExceptionId, ProductId, Refusal, product::NotAdjustable};

/// Something a request names and that isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No product has this id.
    Product(ProductId),
    /// No hold has this id.
    Hold(HoldId),
    /// No order has this id.
    Order(OrderId),
    /// No payment exception has this id.
    PaymentException(PaymentExceptionId),
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Fields that can't be taken, at least one. Send others.
    Invalid(Vec<Invalid>),
    /// What the request names isn't there.
    NotFound(Missing),
    /// The sale's rules say no.
    Refused(Refusal),
    /// Others kept the rows locked through all the retries. Try again.
    LockContention,
    /// The database is away, the server is shutting down, or the outcome of a commit is unknown. Try again with the
    /// same request_id.
    Unavailable(String),
    /// Too many callers are waiting. Try again later.
    Overloaded(&'static str),
    /// The caller's time was up before the answer.
    DeadlineExceeded,
    /// A bug. The text is for the log, never for the caller.
    Internal(String),
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![invalid])
    }
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::NotFound(missing)
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
    /// The reason that callers switch on, and that logs name.
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

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(id) => write!(f, "no product has the id {id}"),
            Self::Hold(id) => write!(f, "no hold has the id {id}"),
            Self::Order(id) => write!(f, "no order has the id {id}"),
            Self::PaymentException(id) => write!(f, "no payment exception has the id {id}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(fields) => {
                let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
                f.write_str(&fields.join("; "))
            }
            Self::NotFound(missing) => missing.fmt(f),
            Self::Refused(refusal) => write!(f, "refused: {refusal:?}"),
            Self::LockContention => f.write_str("rows stayed locked by others through all retries"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
            Self::Overloaded(why) => write!(f, "overloaded: {why}"),
            Self::DeadlineExceeded => f.write_str("the caller's deadline passed"),
            Self::Internal(cause) => write!(f, "internal error: {cause}"),
        }
    }
}

impl std::error::Error for Error {}

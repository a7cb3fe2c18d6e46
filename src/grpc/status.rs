//! Turns an [`Error`] into a gRPC status with one ErrorInfo, and the other details that belong to its code.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::ErrorDetails;

use super::weight;
use crate::{
    domain::{Invalid, Refusal},
    error::{Error, Missing},
};

/// Names the domain of all reasons in this service.
const DOMAIN: &str = "flashsale";
/// Says when a caller should retry after a lock conflict, an overload and an outage: about as long as each lasts.
const RETRY_AFTER_CONTENTION: Duration = Duration::from_millis(100);
const RETRY_AFTER_OVERLOAD: Duration = Duration::from_millis(500);
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(1);

/// Is the reason of a caller over his rate, as that of [`Error::Overloaded`].
const OVERLOADED: &str = "OVERLOADED";

thread_local! {
    /// Keeps the reason of the status that this thread made last.
    static LAST_REASON: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Takes the reason of the status that this thread has made last.
///
/// A status says its reason only in its encoded details, and most answers to a sold-out sale are refusals. A call whose
/// answer is ready has made its status in the same poll, so nobody has made another one on this thread since.
pub(super) fn take_last_reason() -> Option<&'static str> {
    LAST_REASON.take()
}

/// Returns the status of an error. The same refusal, twice in a row, has the same bytes.
///
/// Most callers of a sold-out product get the same refusal, and HTTP/2 compresses headers that it has sent before. So do
/// those of an overloaded server, which has no time to lose.
pub(super) fn of(error: &Error) -> Status {
    thread_local! {
        static LAST_REFUSAL: RefCell<Option<(Error, Status)>> = const { RefCell::new(None) };
    }
    LAST_REASON.set(Some(error.reason()));
    let (Error::Refused(_) | Error::Overloaded(_)) = error else { return status_of(error) };
    LAST_REFUSAL.with_borrow_mut(|last| match last {
        Some((last, status)) if last == error => status.clone(),
        _ => {
            let status = status_of(error);
            *last = Some((error.clone(), status.clone()));
            status
        }
    })
}

fn status_of(error: &Error) -> Status {
    let mut details = ErrorDetails::new();
    let (code, message, metadata) = match error {
        Error::Invalid(fields) => {
            for Invalid { field, description } in fields {
                details.add_bad_request_violation(*field, description);
            }
            (Code::InvalidArgument, error.to_string(), Vec::new())
        }
        Error::NotFound(missing) => {
            let (resource_type, key, id) = named(*missing);
            details.set_resource_info(resource_type, id.clone(), "", error.to_string());
            (Code::NotFound, error.to_string(), vec![(key, id)])
        }
        Error::Refused(refusal) => {
            let (code, message, metadata) = refused(refusal);
            if code == Code::FailedPrecondition {
                details.add_precondition_failure_violation(refusal.reason(), subject(refusal), message.clone());
            }
            (code, message, metadata)
        }
        Error::LockContention => {
            details.set_retry_info(Some(RETRY_AFTER_CONTENTION));
            (Code::Unavailable, "Too many changes to the same rows, try again".to_owned(), Vec::new())
        }
        Error::Unavailable(_) => {
            details.set_retry_info(Some(RETRY_AFTER_OUTAGE));
            let message = "The database can't be reached, try again with the same request_id";
            (Code::Unavailable, message.to_owned(), Vec::new())
        }
        Error::Overloaded(why) => {
            details.set_retry_info(Some(RETRY_AFTER_OVERLOAD));
            (Code::ResourceExhausted, format!("Overloaded, try again later: {why}"), Vec::new())
        }
        Error::DeadlineExceeded => {
            details.set_retry_info(Some(RETRY_AFTER_CONTENTION));
            let message = "The deadline passed before the answer, try again with the same request_id";
            (Code::DeadlineExceeded, message.to_owned(), Vec::new())
        }
        Error::Internal(_) => (Code::Internal, "Internal error".to_owned(), Vec::new()),
    };
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    details.set_error_info(error.reason(), DOMAIN, metadata);
    weight::status(code, &message, details, MetadataMap::new())
}

/// Returns the status of a call whose caller isn't known. It has the same bytes whatever was called.
pub(super) fn unauthenticated() -> Status {
    unexplained(Code::Unauthenticated, "UNAUTHENTICATED", "This call needs valid credentials")
}

/// Returns the status of a call that its caller may not make. It has the same bytes whatever was called.
pub(super) fn permission_denied() -> Status {
    unexplained(Code::PermissionDenied, "PERMISSION_DENIED", "The caller may not make this call")
}

fn unexplained(code: Code, reason: &'static str, message: &str) -> Status {
    LAST_REASON.set(Some(reason));
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, HashMap::new());
    weight::status(code, message, details, MetadataMap::new())
}

/// Returns the status of a message that can't be read.
pub(super) fn bad_message(why: &str) -> Status {
    of(&Invalid::new("message", format!("can't be read: {why}")).into())
}

/// Returns the status of a call of an unknown method, or in an unknown compression.
///
/// It has the message and the headers of tonic's status, which lists the compressions that the server knows.
pub(super) fn unimplemented(tonics: Status) -> Status {
    LAST_REASON.set(Some("UNIMPLEMENTED"));
    let mut details = ErrorDetails::new();
    details.set_error_info("UNIMPLEMENTED", DOMAIN, HashMap::new());
    let message = if tonics.message().is_empty() { "There is no such method" } else { tonics.message() };
    weight::status(Code::Unimplemented, message, details, tonics.metadata().clone())
}

/// Returns the status of a caller who calls more often than he may, and says when he may call again.
pub(super) fn over_rate(wait: Duration) -> Status {
    LAST_REASON.set(Some(OVERLOADED));
    let mut details = ErrorDetails::new();
    // A client may count in milliseconds.
    details.set_retry_info(Some(wait.max(Duration::from_millis(1))));
    details.set_error_info(OVERLOADED, DOMAIN, HashMap::new());
    let message = "Overloaded, try again later: more calls a second than this server allows";
    weight::status(Code::ResourceExhausted, message, details, MetadataMap::new())
}

type Metadata = Vec<(&'static str, String)>;

fn named(missing: Missing) -> (&'static str, &'static str, String) {
    match missing {
        Missing::Product(id) => ("flashsale.v1.Product", "productId", id.to_string()),
        Missing::Hold(id) => ("flashsale.v1.Hold", "holdId", id.to_string()),
        Missing::Order(id) => ("flashsale.v1.Order", "orderId", id.to_string()),
        Missing::PaymentException(id) => ("flashsale.v1.PaymentException", "exceptionId", id.to_string()),
    }
}

fn refused(refusal: &Refusal) -> (Code, String, Metadata) {
    let failed = |message: &str, metadata: Metadata| (Code::FailedPrecondition, message.to_owned(), metadata);
    match refusal {
        Refusal::OutOfStock { product_id, requested, available_stock } => failed(
            "Not enough stock",
            vec![
                ("productId", product_id.to_string()),
                ("requested", requested.to_string()),
                ("availableStock", available_stock.to_string()),
            ],
        ),
        Refusal::SaleNotStarted { starts_at } => {
            let starts_at = DateTime::<Utc>::from(*starts_at).to_rfc3339_opts(SecondsFormat::AutoSi, true);
            failed("The sale has not started", vec![("startsAt", starts_at)])
        }
        Refusal::SaleEnded => failed("The sale has ended", Vec::new()),
        Refusal::SalePaused => failed("The sale is paused", Vec::new()),
        Refusal::BuyerLimit { limit, already_taken } => failed(
            "The buyer has reached the limit for this product",
            vec![("limit", limit.to_string()), ("alreadyTaken", already_taken.to_string())],
        ),
        Refusal::HoldExpired { hold_id } => failed("The hold has expired", vec![("holdId", hold_id.to_string())]),
        Refusal::HoldCancelled { hold_id } => failed("The hold was cancelled", vec![("holdId", hold_id.to_string())]),
        Refusal::HoldUsed { hold_id, order_id } => failed(
            "The hold has already made an order",
            vec![("holdId", hold_id.to_string()), ("orderId", order_id.to_string())],
        ),
        Refusal::PriceChanged { unit_price_cents } => {
            failed("The price has changed", vec![("unitPriceCents", unit_price_cents.to_string())])
        }
        Refusal::OrderPaid { order_id } => {
            failed("The order is paid and can't be cancelled", vec![("orderId", order_id.to_string())])
        }
        Refusal::PaymentNotAcceptable => failed(
            "Only a payment of another amount for a pending order can be accepted, before it is resolved",
            Vec::new(),
        ),
        Refusal::RequestIdReused => {
            let message = "This request_id was used with other arguments, send a new one";
            (Code::AlreadyExists, message.to_owned(), Vec::new())
        }
        Refusal::IdempotencyKeyReused => {
            let message = "This idempotency_key was used for another order";
            (Code::AlreadyExists, message.to_owned(), Vec::new())
        }
    }
}

/// Returns the subject of a precondition that failed.
fn subject(refusal: &Refusal) -> String {
    match refusal {
        Refusal::OutOfStock { product_id, .. } => format!("products/{product_id}"),
        Refusal::HoldExpired { hold_id } | Refusal::HoldCancelled { hold_id } | Refusal::HoldUsed { hold_id, .. } => {
            format!("holds/{hold_id}")
        }
        Refusal::SaleNotStarted { .. } | Refusal::SaleEnded | Refusal::SalePaused => "sale".to_owned(),
        Refusal::BuyerLimit { .. } => "buyer".to_owned(),
        Refusal::PriceChanged { .. } => "price".to_owned(),
        Refusal::OrderPaid { order_id } => format!("orders/{order_id}"),
        Refusal::PaymentNotAcceptable => "payment".to_owned(),
        Refusal::RequestIdReused => "request_id".to_owned(),
        Refusal::IdempotencyKeyReused => "idempotency_key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tonic_types::StatusExt;

    use super::*;
    use crate::domain::{HoldId, OrderId, PaymentExceptionId, ProductId};

    /// Lists every error with its code, its reason and the keys of its metadata.
    fn table() -> Vec<(Error, Code, &'static str, Vec<&'static str>)> {
        let (product_id, hold_id, order_id) = (ProductId::stored(1), HoldId::stored(2), OrderId::stored(3));
        let failed = Code::FailedPrecondition;
        vec![
            (Invalid::new("qty", "must be at least 1").into(), Code::InvalidArgument, "INVALID_ARGUMENT", vec![]),
            (Missing::Product(product_id).into(), Code::NotFound, "PRODUCT_NOT_FOUND", vec!["productId"]),
            (Missing::Hold(hold_id).into(), Code::NotFound, "HOLD_NOT_FOUND", vec!["holdId"]),
            (Missing::Order(order_id).into(), Code::NotFound, "ORDER_NOT_FOUND", vec!["orderId"]),
            (
                Missing::PaymentException(PaymentExceptionId::stored(4)).into(),
                Code::NotFound,
                "PAYMENT_EXCEPTION_NOT_FOUND",
                vec!["exceptionId"],
            ),
            (
                Refusal::OutOfStock { product_id, requested: 2, available_stock: 1 }.into(),
                failed,
                "OUT_OF_STOCK",
                vec!["availableStock", "productId", "requested"],
            ),
            (
                Refusal::SaleNotStarted { starts_at: SystemTime::UNIX_EPOCH }.into(),
                failed,
                "SALE_NOT_STARTED",
                vec!["startsAt"],
            ),
            (Refusal::SaleEnded.into(), failed, "SALE_ENDED", vec![]),
            (Refusal::SalePaused.into(), failed, "SALE_PAUSED", vec![]),
            (
                Refusal::BuyerLimit { limit: 2, already_taken: 2 }.into(),
                failed,
                "BUYER_LIMIT",
                vec!["alreadyTaken", "limit"],
            ),
            (Refusal::HoldExpired { hold_id }.into(), failed, "HOLD_EXPIRED", vec!["holdId"]),
            (Refusal::HoldCancelled { hold_id }.into(), failed, "HOLD_CANCELLED", vec!["holdId"]),
            (Refusal::HoldUsed { hold_id, order_id }.into(), failed, "HOLD_USED", vec!["holdId", "orderId"]),
            (Refusal::PriceChanged { unit_price_cents: 5 }.into(), failed, "PRICE_CHANGED", vec!["unitPriceCents"]),
            (Refusal::OrderPaid { order_id }.into(), failed, "ORDER_PAID", vec!["orderId"]),
            (Refusal::PaymentNotAcceptable.into(), failed, "PAYMENT_NOT_ACCEPTABLE", vec![]),
            (Refusal::RequestIdReused.into(), Code::AlreadyExists, "REQUEST_ID_REUSED", vec![]),
            (Refusal::IdempotencyKeyReused.into(), Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", vec![]),
            (Error::LockContention, Code::Unavailable, "LOCK_CONTENTION", vec![]),
            (Error::Unavailable("gone".to_owned()), Code::Unavailable, "DATABASE_UNAVAILABLE", vec![]),
            (Error::Overloaded("full"), Code::ResourceExhausted, "OVERLOADED", vec![]),
            (Error::DeadlineExceeded, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", vec![]),
            (Error::Internal("secret cause".to_owned()), Code::Internal, "INTERNAL", vec![]),
        ]
    }

    #[test]
    fn every_reason_is_counted_from_0() {
        let mut reasons: Vec<&str> = table().into_iter().map(|(_, _, reason, _)| reason).collect();
        reasons.extend(["UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED"]);
        assert_eq!(reasons, crate::metrics::REASONS);
    }

    #[test]
    fn a_refusal_that_comes_again_is_answered_by_the_same_bytes() {
        let refusal = |requested| {
            Error::from(Refusal::OutOfStock { product_id: ProductId::stored(1), requested, available_stock: 0 })
        };
        let first = of(&refusal(1));
        for _ in 0..20 {
            assert_eq!(of(&refusal(1)).details(), first.details());
        }
        let other = of(&refusal(2)).get_details_error_info().unwrap();
        assert_eq!(other.metadata["requested"], "2");
    }

    #[test]
    fn every_error_has_its_code_and_one_error_info() {
        for (error, code, reason, keys) in table() {
            let status = of(&error);
            assert_eq!(status.code(), code, "{error:?}");
            let details = status.get_details_error_info().unwrap();
            assert_eq!((details.domain.as_str(), details.reason.as_str()), ("flashsale", reason));
            let mut found: Vec<&str> = details.metadata.keys().map(String::as_str).collect();
            found.sort_unstable();
            assert_eq!(found, keys, "{error:?}");
        }
    }

    #[test]
    fn each_code_has_the_detail_that_belongs_to_it() {
        for (error, code, ..) in table() {
            let details = of(&error).get_error_details();
            assert_eq!(details.bad_request().is_some(), code == Code::InvalidArgument, "{error:?}");
            assert_eq!(details.precondition_failure().is_some(), code == Code::FailedPrecondition, "{error:?}");
            assert_eq!(details.resource_info().is_some(), code == Code::NotFound, "{error:?}");
            let retry = details.retry_info().is_some_and(|info| info.retry_delay.is_some());
            assert_eq!(retry, error.is_temporary(), "{error:?}");
        }
    }

    #[test]
    fn a_caller_over_his_rate_hears_when_he_may_call_again() {
        for (wait, told) in [(Duration::from_millis(70), 70), (Duration::ZERO, 1)] {
            let status = over_rate(wait);
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
            let retry = status.get_details_retry_info().unwrap();
            assert_eq!(retry.retry_delay, Some(Duration::from_millis(told)));
        }
    }

    #[test]
    fn a_bugs_cause_is_not_for_the_caller() {
        let status = of(&Error::Internal("secret cause".to_owned()));
        assert_eq!(status.message(), "Internal error");
        assert!(!String::from_utf8_lossy(status.details()).contains("secret"));
    }
}

//! Why the service refuses a call: its reason and what the reason says, as types.

use std::{collections::HashMap, time::Duration};

use prost_types::Timestamp;
use tonic::Status;
use tonic_types::{ErrorInfo, StatusExt};

/// Names the domain of the reasons that the service gives.
const DOMAIN: &str = "flashsale";

/// Says why the service refused a call.
///
/// Later versions of the service may have more reasons. One that this crate doesn't know is [`Refusal::Other`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// Fields of the request are out of their bounds.
    InvalidArgument {
        /// The fields at fault, all at once.
        violations: Vec<Violation>,
    },
    /// There is no such product.
    ProductNotFound {
        /// The product that was asked for.
        product_id: i64,
    },
    /// There is no such hold, or it is another buyer's.
    HoldNotFound {
        /// The hold that was asked for.
        hold_id: i64,
    },
    /// There is no such order.
    OrderNotFound {
        /// The order that was asked for.
        order_id: i64,
    },
    /// There is no such payment exception.
    PaymentExceptionNotFound {
        /// The exception that was asked for.
        exception_id: i64,
    },
    /// Fewer units are left than were asked for.
    OutOfStock {
        /// The product that was asked for.
        product_id: i64,
        /// The units that were asked for.
        requested: i64,
        /// The units that could be had.
        available_stock: i64,
    },
    /// The hold's time is over.
    HoldExpired {
        /// The hold.
        hold_id: i64,
    },
    /// The hold was released, or its order was cancelled.
    HoldCancelled {
        /// The hold.
        hold_id: i64,
    },
    /// The hold has already made an order.
    HoldUsed {
        /// The hold.
        hold_id: i64,
        /// The order that it made.
        order_id: i64,
    },
    /// The sale has not started.
    SaleNotStarted {
        /// When it starts.
        starts_at: Timestamp,
    },
    /// The sale has ended.
    SaleEnded,
    /// The sale is paused.
    SalePaused,
    /// The buyer would have more units than one buyer may have.
    BuyerLimit {
        /// The units that one buyer may have.
        limit: i64,
        /// The units that the buyer has.
        already_taken: i64,
    },
    /// The price is another one than the caller expected.
    PriceChanged {
        /// The price of one unit now, in cents.
        unit_price_cents: i64,
    },
    /// The order is paid, so it can't be cancelled.
    OrderPaid {
        /// The order.
        order_id: i64,
    },
    /// The payment can't be taken as payment of its order.
    PaymentNotAcceptable,
    /// The request id was used with other arguments.
    RequestIdReused,
    /// The idempotency key was used for another order.
    IdempotencyKeyReused,
    /// Somebody else kept the rows locked.
    LockContention,
    /// The database is away, or the server is shutting down. Whether the call took effect may be unknown.
    DatabaseUnavailable,
    /// The server has too much to do.
    Overloaded,
    /// The call's deadline passed at the server. Whether the call took effect is unknown.
    DeadlineExceeded,
    /// The server doesn't know the method.
    Unimplemented,
    /// The caller has not said who it is, or not by something that the server believes.
    Unauthenticated,
    /// The caller may not make this call.
    PermissionDenied,
    /// The server has a fault. Its log has the cause.
    Internal,
    /// The reason is newer than this crate, or comes without what belongs to it.
    Other {
        /// The reason, in capital letters.
        reason: String,
        /// What the reason says, by name.
        metadata: HashMap<String, String>,
    },
}

impl Refusal {
    fn read(status: &Status, info: &ErrorInfo) -> Self {
        Self::known(status, info)
            .unwrap_or_else(|| Self::Other { reason: info.reason.clone(), metadata: info.metadata.clone() })
    }

    fn known(status: &Status, info: &ErrorInfo) -> Option<Self> {
        let number = |name: &str| info.metadata.get(name)?.parse::<i64>().ok();
        Some(match info.reason.as_str() {
            "INVALID_ARGUMENT" => {
                let found = status.get_details_bad_request().into_iter().flat_map(|details| details.field_violations);
                let violations = found.map(|found| Violation { field: found.field, description: found.description });
                Self::InvalidArgument { violations: violations.collect() }
            }
            "PRODUCT_NOT_FOUND" => Self::ProductNotFound { product_id: number("productId")? },
            "HOLD_NOT_FOUND" => Self::HoldNotFound { hold_id: number("holdId")? },
            "ORDER_NOT_FOUND" => Self::OrderNotFound { order_id: number("orderId")? },
            "PAYMENT_EXCEPTION_NOT_FOUND" => Self::PaymentExceptionNotFound { exception_id: number("exceptionId")? },
            "OUT_OF_STOCK" => Self::OutOfStock {
                product_id: number("productId")?,
                requested: number("requested")?,
                available_stock: number("availableStock")?,
            },
            "HOLD_EXPIRED" => Self::HoldExpired { hold_id: number("holdId")? },
            "HOLD_CANCELLED" => Self::HoldCancelled { hold_id: number("holdId")? },
            "HOLD_USED" => Self::HoldUsed { hold_id: number("holdId")?, order_id: number("orderId")? },
            "SALE_NOT_STARTED" => Self::SaleNotStarted { starts_at: info.metadata.get("startsAt")?.parse().ok()? },
            "SALE_ENDED" => Self::SaleEnded,
            "SALE_PAUSED" => Self::SalePaused,
            "BUYER_LIMIT" => Self::BuyerLimit { limit: number("limit")?, already_taken: number("alreadyTaken")? },
            "PRICE_CHANGED" => Self::PriceChanged { unit_price_cents: number("unitPriceCents")? },
            "ORDER_PAID" => Self::OrderPaid { order_id: number("orderId")? },
            "PAYMENT_NOT_ACCEPTABLE" => Self::PaymentNotAcceptable,
            "REQUEST_ID_REUSED" => Self::RequestIdReused,
            "IDEMPOTENCY_KEY_REUSED" => Self::IdempotencyKeyReused,
            "LOCK_CONTENTION" => Self::LockContention,
            "DATABASE_UNAVAILABLE" => Self::DatabaseUnavailable,
            "OVERLOADED" => Self::Overloaded,
            "DEADLINE_EXCEEDED" => Self::DeadlineExceeded,
            "UNIMPLEMENTED" => Self::Unimplemented,
            "UNAUTHENTICATED" => Self::Unauthenticated,
            "PERMISSION_DENIED" => Self::PermissionDenied,
            "INTERNAL" => Self::Internal,
            _ => return None,
        })
    }

    /// Whether the same call may well succeed a little later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::LockContention | Self::DatabaseUnavailable | Self::Overloaded)
    }
}

/// Says what is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, by its name in the definition.
    pub field: String,
    /// What is wrong with it, for people.
    pub description: String,
}

/// Holds a refusal of the service, and the status that it came in.
#[derive(Clone, Debug)]
pub struct Refused {
    status: Status,
    info: ErrorInfo,
    refusal: Refusal,
}

impl Refused {
    /// Reads the refusal in a status. `None`: the status has no reason of the service.
    pub(crate) fn read(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        let is_ours = info.domain == DOMAIN && !info.reason.is_empty();
        is_ours.then(|| Self { refusal: Refusal::read(status, &info), status: status.clone(), info })
    }

    /// Returns the reason as a type.
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Returns the reason in capital letters, and what it says, by name.
    pub fn info(&self) -> &ErrorInfo {
        &self.info
    }

    /// Returns the status as it came.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns after which time the server would like to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.status.get_details_retry_info().and_then(|info| info.retry_delay)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(domain: &str, reason: &str, metadata: &[(&str, &str)]) -> Option<Refused> {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let details = ErrorDetails::with_error_info(reason, domain, metadata);
        Refused::read(&Status::with_error_details(Code::FailedPrecondition, "text", details))
    }

    /// Returns the refusal of a reason with all the metadata that any reason has.
    fn refusal(reason: &str) -> Refusal {
        let names = [
            "productId",
            "holdId",
            "orderId",
            "exceptionId",
            "requested",
            "availableStock",
            "limit",
            "alreadyTaken",
            "unitPriceCents",
        ];
        let mut metadata: Vec<(&str, &str)> = names.into_iter().map(|name| (name, "7")).collect();
        metadata.push(("startsAt", "2030-01-27T12:32:00Z"));
        refused(DOMAIN, reason, &metadata).unwrap().refusal
    }

    /// Returns the reasons that the comments of the calls name.
    fn reasons_of_the_definition() -> BTreeSet<&'static str> {
        const NO_REASON: &str = "AMOUNT_MISMATCH";
        let definition = include_str!("../../proto/flashsale/v1/flash_sale.proto");
        let errors = definition.split("Errors:").skip(1).filter_map(|text| text.split("\n  rpc ").next());
        let words = errors.flat_map(|text| text.split(|letter: char| !(letter.is_ascii_uppercase() || letter == '_')));
        words.filter(|word| word.contains('_') && *word != NO_REASON).collect()
    }

    #[test]
    fn every_reason_that_the_definition_names_is_a_type() {
        let mut reasons = reasons_of_the_definition();
        assert!(reasons.len() >= 17, "{reasons:?}");
        // The comment at the head of the definition has those that every call may return.
        reasons.extend(["INVALID_ARGUMENT", "LOCK_CONTENTION", "DATABASE_UNAVAILABLE", "OVERLOADED"]);
        reasons.extend(["DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAUTHENTICATED", "PERMISSION_DENIED"]);
        for reason in reasons {
            assert!(!matches!(refusal(reason), Refusal::Other { .. }), "{reason}");
        }
    }

    #[test]
    fn what_a_reason_says_is_typed() {
        let metadata = [("productId", "1"), ("requested", "5"), ("availableStock", "2")];
        let out = Refusal::OutOfStock { product_id: 1, requested: 5, available_stock: 2 };
        assert_eq!(refused(DOMAIN, "OUT_OF_STOCK", &metadata).unwrap().refusal, out);
        let Refusal::SaleNotStarted { starts_at } = refusal("SALE_NOT_STARTED") else { panic!() };
        assert_eq!(starts_at.to_string(), "2030-01-27T12:32:00Z");
    }

    #[test]
    fn a_reason_of_later_or_without_its_metadata_is_another() {
        let later = refused(DOMAIN, "TOO_LATE", &[("by", "1")]).unwrap();
        assert!(
            matches!(later.refusal(), Refusal::Other { reason, metadata } if reason == "TOO_LATE" && metadata["by"] == "1")
        );
        assert!(!later.refusal().is_temporary());
        for metadata in [&[][..], &[("holdId", "seven")]] {
            let bare = refused(DOMAIN, "HOLD_EXPIRED", metadata).unwrap();
            assert!(matches!(bare.refusal(), Refusal::Other { .. }), "{bare:?}");
        }
    }

    #[test]
    fn a_reason_of_somebody_else_is_no_refusal() {
        assert!(refused("googleapis.com", "OUT_OF_STOCK", &[]).is_none());
        assert!(refused(DOMAIN, "", &[]).is_none());
        assert!(Refused::read(&Status::new(Code::NotFound, "text")).is_none());
    }
}

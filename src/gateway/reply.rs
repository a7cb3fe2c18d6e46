//! Refusals of the server or the gateway, as an HTTP status and a JSON body.
//!
//! `{"message": …, "reason": …, "errors": {field: [problem, …]}, "details": {name: text}}`. Clients switch on `reason`.
//! `errors` names the fields at fault, and `details` holds the metadata of the server's ErrorInfo. Both may be absent.
//!
//! | the server's code | status |
//! |---|---|
//! | INVALID_ARGUMENT, FAILED_PRECONDITION | 422 |
//! | NOT_FOUND | GET 404, POST 422, webhook 422 with `Retry-After: 5` |
//! | ALREADY_EXISTS | 409 |
//! | RESOURCE_EXHAUSTED | 429, webhook 503, with `Retry-After` |
//! | UNAVAILABLE, and a server that can't be reached | 503 with `Retry-After` |
//! | DEADLINE_EXCEEDED, and a call that the gateway gave up | 504 |
//! | UNAUTHENTICATED, PERMISSION_DENIED, which the server says to the gateway alone | 503 with `Retry-After` |
//! | INTERNAL, and everything unexpected | 500 |

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt};

use super::{
    body::{BODY_BYTES_MAX, BodyError},
    request::{BadRequest, REQUEST_ID_HEADER},
    upstream::CallError,
};

/// Says when a provider should send an event again whose order doesn't exist yet, in seconds.
const EARLY_WEBHOOK_RETRY_SECONDS: u64 = 5;
/// Says when to try again where the server doesn't say it, in seconds.
const RETRY_SECONDS_MIN: u64 = 1;
/// Limits the characters of a meaningless id that the answer repeats.
const ECHO_CHARACTERS_MAX: usize = 64;

/// Says how the gateway was asked. Some refusals look different to a provider that delivers an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A client sent a GET.
    Get,
    /// A shop sent a POST.
    Post,
    /// The payment provider sent an event.
    Webhook,
}

/// Holds a refusal.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: StatusCode,
    retry_after_seconds: Option<u64>,
    body: Box<ErrorBody>,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorBody {
    message: String,
    reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    errors: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, String>,
}

impl Reply {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            retry_after_seconds: None,
            body: Box::new(ErrorBody {
                message: message.into(),
                reason: Cow::Borrowed(reason),
                errors: BTreeMap::new(),
                details: BTreeMap::new(),
            }),
        }
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Returns the reason, for the log.
    pub(super) fn reason(&self) -> &str {
        &self.body.reason
    }

    /// Refuses a request that two programs might read in two ways.
    pub(super) fn bad_request(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// Refuses an unknown path.
    pub(super) fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ROUTE_NOT_FOUND", "There is nothing at this path")
    }

    /// Refuses a method that the path doesn't take. The router adds `Allow`.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "This path does not take this method; see the header Allow",
        )
    }

    /// Refuses a path whose id can't be the id of a product.
    pub(super) fn no_such_product(id: &str) -> Self {
        let mut reply = Self::new(StatusCode::NOT_FOUND, "PRODUCT_NOT_FOUND", "There is no such product");
        let echo = id.chars().take(ECHO_CHARACTERS_MAX).collect();
        reply.body.details.insert("productId".to_owned(), echo);
        reply
    }

    /// Refuses a webhook whose signature is missing or wrong, or a caller that isn't known. It isn't told which.
    pub(super) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "Unauthenticated")
    }

    /// Refuses a caller that may not do this.
    pub(super) fn permission_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", "Permission denied")
    }

    /// Reports a bug of the gateway or the server. The cause is in the log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "Internal error")
    }

    /// Reports a server that can't be reached.
    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "DATABASE_UNAVAILABLE",
            "The service is unavailable for the moment; try again",
        )
        .retry_after(RETRY_SECONDS_MIN)
    }

    fn deadline_exceeded() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "DEADLINE_EXCEEDED",
            "The service did not answer in time; the call may be repeated with the same key",
        )
    }

    fn overloaded(asked: Asked, retry_after_seconds: u64) -> Self {
        let status = match asked {
            Asked::Get | Asked::Post => StatusCode::TOO_MANY_REQUESTS,
            Asked::Webhook => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, "OVERLOADED", "Too many requests at the moment; try again").retry_after(retry_after_seconds)
    }

    /// Returns the refusal for a call that has no response.
    pub(super) fn from_call(error: &CallError, asked: Asked) -> Self {
        match error {
            CallError::Refused(refused) => Self::from_refusal(refused.status(), refused.info(), asked),
            CallError::TimedOut => Self::deadline_exceeded(),
            CallError::NotSent(_) | CallError::Broken(_) => Self::unavailable(),
            CallError::Unexplained(status) => match status.code() {
                Code::ResourceExhausted => Self::overloaded(asked, RETRY_SECONDS_MIN),
                // The caller may be right: it is the gateway that isn't known there.
                Code::Unauthenticated | Code::PermissionDenied => Self::unavailable(),
                _ => Self::internal(),
            },
        }
    }

    fn from_refusal(status: &Status, info: &ErrorInfo, asked: Asked) -> Self {
        let retry_after_seconds = retry_seconds(status);
        match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition => {
                Self::explained(StatusCode::UNPROCESSABLE_ENTITY, status, info, asked)
            }
            Code::AlreadyExists => Self::explained(StatusCode::CONFLICT, status, info, asked),
            Code::NotFound => match asked {
                Asked::Get => Self::explained(StatusCode::NOT_FOUND, status, info, asked),
                Asked::Post => Self::explained(StatusCode::UNPROCESSABLE_ENTITY, status, info, asked),
                Asked::Webhook => Self::explained(StatusCode::UNPROCESSABLE_ENTITY, status, info, asked)
                    .retry_after(EARLY_WEBHOOK_RETRY_SECONDS),
            },
            Code::Unavailable => {
                Self::explained(StatusCode::SERVICE_UNAVAILABLE, status, info, asked).retry_after(retry_after_seconds)
            }
            Code::ResourceExhausted => {
                let http = Self::overloaded(asked, retry_after_seconds).status;
                Self::explained(http, status, info, asked).retry_after(retry_after_seconds)
            }
            Code::DeadlineExceeded => Self::explained(StatusCode::GATEWAY_TIMEOUT, status, info, asked),
            Code::Unauthenticated | Code::PermissionDenied => Self::unavailable(),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::internal(),
        }
    }

    /// Passes on the server's reason, message and details, and the fields that they are about.
    fn explained(http: StatusCode, status: &Status, info: &ErrorInfo, asked: Asked) -> Self {
        let message = if info.reason == "OUT_OF_STOCK" {
            "Not enough stock"
        } else if status.message().is_empty() {
            status.code().description()
        } else {
            status.message()
        };
        let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for violation in status.get_details_bad_request().into_iter().flat_map(|details| details.field_violations) {
            let field = match violation.field.as_str() {
                "request_id" => REQUEST_ID_HEADER.to_owned(),
                _ => violation.field,
            };
            errors.entry(field).or_default().push(violation.description);
        }
        if let (true, Some(field)) = (errors.is_empty(), field_at_fault(&info.reason, asked)) {
            errors.insert(field.to_owned(), vec![message.to_owned()]);
        }
        Self {
            status: http,
            retry_after_seconds: None,
            body: Box::new(ErrorBody {
                message: message.to_owned(),
                reason: Cow::Owned(info.reason.clone()),
                errors,
                details: info.metadata.clone().into_iter().collect(),
            }),
        }
    }
}

/// Returns the field of the request that a refusal is about. A GET has no fields.
fn field_at_fault(reason: &str, asked: Asked) -> Option<&'static str> {
    if asked == Asked::Get {
        return None;
    }
    match reason {
        "OUT_OF_STOCK" => Some("qty"),
        "BUYER_LIMIT" => Some("buyer_id"),
        "PRICE_CHANGED" => Some("expected_unit_price_cents"),
        "PRODUCT_NOT_FOUND" | "SALE_NOT_STARTED" | "SALE_ENDED" | "SALE_PAUSED" => Some("product_id"),
        "HOLD_NOT_FOUND" | "HOLD_EXPIRED" | "HOLD_CANCELLED" | "HOLD_USED" => Some("hold_id"),
        "ORDER_NOT_FOUND" => Some("order_id"),
        "REQUEST_ID_REUSED" => Some(REQUEST_ID_HEADER),
        "IDEMPOTENCY_KEY_REUSED" => Some("idempotency_key"),
        _ => None,
    }
}

/// Returns the server's RetryInfo in whole seconds, rounded up, at least 1.
fn retry_seconds(status: &Status) -> u64 {
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or(Duration::ZERO);
    let started = u64::from(delay.subsec_nanos() > 0);
    delay.as_secs().saturating_add(started).max(RETRY_SECONDS_MIN)
}

impl From<BodyError> for Reply {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "TOO_LARGE",
                format!("The body must have at most {BODY_BYTES_MAX} bytes"),
            ),
            BodyError::TooSlow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The body did not arrive in time")
            }
            BodyError::Broken => Self::new(StatusCode::BAD_REQUEST, "BAD_JSON", "The body broke off"),
        }
    }
}

impl From<BadRequest> for Reply {
    fn from(fault: BadRequest) -> Self {
        match fault {
            BadRequest::Encoded => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "The body must be sent as it is, without a Content-Encoding",
            ),
            BadRequest::NotDeclaredJson => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "The header Content-Type must be application/json",
            ),
            BadRequest::NotJson => Self::new(StatusCode::BAD_REQUEST, "BAD_JSON", "The body is not JSON"),
            BadRequest::NotAnObject => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_ARGUMENT", "The body must be a JSON object")
            }
            BadRequest::Fields(faults) => {
                let message: Vec<String> = faults.iter().map(|(field, problem)| format!("{field} {problem}")).collect();
                let mut reply = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_ARGUMENT", message.join("; "));
                for (field, problem) in faults {
                    let problems = reply.body.errors.entry(field.to_owned()).or_default();
                    problems.push(problem.to_owned());
                }
                reply
            }
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Value, json};
use tonic_types::{ErrorDetails, FieldViolation};

use super::*;

/// Returns the server's status for a reason.
fn status(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Status {
    Status::with_error_details(code, "said the server", details(reason, metadata))
}

fn details(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ErrorDetails::with_error_info(reason, "flashsale", metadata)
}

fn reply(status: Status, asked: Asked) -> Reply {
    Reply::from_call(&CallError::from(status), asked)
}

fn body(reply: &Reply) -> Value {
    serde_json::to_value(&reply.body).unwrap()
}

#[test]
fn every_reason_has_its_status_for_each_way_of_asking() {
    // The columns are GET, POST and webhook.
    let table = [
        (Code::InvalidArgument, "INVALID_ARGUMENT", [422, 422, 422]),
        (Code::NotFound, "PRODUCT_NOT_FOUND", [404, 422, 422]),
        (Code::NotFound, "HOLD_NOT_FOUND", [404, 422, 422]),
        (Code::NotFound, "ORDER_NOT_FOUND", [404, 422, 422]),
        (Code::NotFound, "PAYMENT_EXCEPTION_NOT_FOUND", [404, 422, 422]),
        (Code::FailedPrecondition, "OUT_OF_STOCK", [422, 422, 422]),
        (Code::FailedPrecondition, "HOLD_EXPIRED", [422, 422, 422]),
        (Code::FailedPrecondition, "HOLD_CANCELLED", [422, 422, 422]),
        (Code::FailedPrecondition, "HOLD_USED", [422, 422, 422]),
        (Code::FailedPrecondition, "SALE_NOT_STARTED", [422, 422, 422]),
        (Code::FailedPrecondition, "SALE_ENDED", [422, 422, 422]),
        (Code::FailedPrecondition, "SALE_PAUSED", [422, 422, 422]),
        (Code::FailedPrecondition, "BUYER_LIMIT", [422, 422, 422]),
        (Code::AlreadyExists, "REQUEST_ID_REUSED", [409, 409, 409]),
        (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", [409, 409, 409]),
        (Code::Unavailable, "LOCK_CONTENTION", [503, 503, 503]),
        (Code::Unavailable, "DATABASE_UNAVAILABLE", [503, 503, 503]),
        (Code::ResourceExhausted, "OVERLOADED", [429, 429, 503]),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", [504, 504, 504]),
        (Code::Internal, "INTERNAL", [500, 500, 500]),
    ];
    for (code, reason, statuses) in table {
        for (asked, expected) in [Asked::Get, Asked::Post, Asked::Webhook].into_iter().zip(statuses) {
            let reply = reply(status(code, reason, &[]), asked);
            assert_eq!(reply.status.as_u16(), expected, "{reason} {asked:?}");
            assert_eq!(reply.reason(), reason);
            let retry_after = match code {
                Code::Unavailable | Code::ResourceExhausted => Some(1),
                Code::NotFound if asked == Asked::Webhook => Some(5),
                _ => None,
            };
            assert_eq!(reply.retry_after_seconds, retry_after, "{reason} {asked:?}");
            assert!(!reply.status.is_success() && !reply.status.is_redirection());
        }
    }
}

#[test]
fn who_calls_the_gateway_is_not_blamed_where_the_server_refuses_the_gateway() {
    for code in [Code::Unauthenticated, Code::PermissionDenied] {
        for asked in [Asked::Get, Asked::Post, Asked::Webhook] {
            let reply = reply(status(code, "PERMISSION_DENIED", &[]), asked);
            assert_eq!((reply.status.as_u16(), reply.reason()), (503, "DATABASE_UNAVAILABLE"));
            assert_eq!(reply.retry_after_seconds, Some(1));
        }
    }
}

#[test]
fn a_shortage_is_told_as_documented() {
    let metadata = [("productId", "1"), ("requested", "5"), ("availableStock", "3")];
    let reply = reply(status(Code::FailedPrecondition, "OUT_OF_STOCK", &metadata), Asked::Post);
    assert_eq!(
        serde_json::to_string(&reply.body).unwrap(),
        r#"{"message":"Not enough stock","reason":"OUT_OF_STOCK","errors":{"qty":["Not enough stock"]},"details":{"availableStock":"3","productId":"1","requested":"5"}}"#
    );
}

#[test]
fn a_refusal_names_the_field_it_is_about() {
    let table = [
        ("BUYER_LIMIT", "buyer_id"),
        ("PRODUCT_NOT_FOUND", "product_id"),
        ("SALE_NOT_STARTED", "product_id"),
        ("SALE_ENDED", "product_id"),
        ("SALE_PAUSED", "product_id"),
        ("HOLD_NOT_FOUND", "hold_id"),
        ("HOLD_EXPIRED", "hold_id"),
        ("HOLD_CANCELLED", "hold_id"),
        ("HOLD_USED", "hold_id"),
        ("ORDER_NOT_FOUND", "order_id"),
        ("REQUEST_ID_REUSED", "Idempotency-Key"),
        ("IDEMPOTENCY_KEY_REUSED", "idempotency_key"),
    ];
    for (reason, field) in table {
        let failure = || status(Code::FailedPrecondition, reason, &[]);
        let expected = json!({
            "message": "said the server", "reason": reason, "errors": {field: ["said the server"]},
        });
        assert_eq!(body(&reply(failure(), Asked::Post)), expected);
        let expected = json!({"message": "said the server", "reason": reason});
        assert_eq!(body(&reply(failure(), Asked::Get)), expected);
    }
}

#[test]
fn the_servers_field_violations_are_passed_on_under_the_callers_names() {
    let mut details = details("INVALID_ARGUMENT", &[]);
    details.set_bad_request(vec![
        FieldViolation::new("qty", "must be at least 1"),
        FieldViolation::new("request_id", "is too long"),
        FieldViolation::new("qty", "must be odd"),
    ]);
    let refused = Status::with_error_details(Code::InvalidArgument, "2 bad fields", details);
    let expected = json!({
        "message": "2 bad fields",
        "reason": "INVALID_ARGUMENT",
        "errors": {"qty": ["must be at least 1", "must be odd"], "Idempotency-Key": ["is too long"]},
    });
    assert_eq!(body(&reply(refused, Asked::Post)), expected);
}

#[test]
fn the_retry_delay_is_rounded_up_to_whole_seconds() {
    let table = [
        (Duration::ZERO, 1),
        (Duration::from_millis(1), 1),
        (Duration::from_secs(1), 1),
        (Duration::from_millis(1_001), 2),
        (Duration::from_secs(30), 30),
    ];
    for (delay, seconds) in table {
        let mut details = details("DATABASE_UNAVAILABLE", &[]);
        details.set_retry_info(Some(delay));
        let away = Status::with_error_details(Code::Unavailable, "away", details);
        let reply = reply(away, Asked::Post);
        assert_eq!(reply.retry_after_seconds, Some(seconds), "{delay:?}");
        let response = reply.into_response();
        assert_eq!(response.headers()["retry-after"], seconds.to_string());
    }
}

#[test]
fn who_is_not_let_in_and_who_meets_a_bug_learns_nothing_more() {
    let secret = [("cause", "table holds is gone")];
    let table = [
        (Code::Internal, "Internal error"),
        (Code::Unknown, "Internal error"),
        (Code::DataLoss, "Internal error"),
        (Code::Unauthenticated, "The service is unavailable for the moment; try again"),
        (Code::PermissionDenied, "The service is unavailable for the moment; try again"),
    ];
    for (code, message) in table {
        let body = body(&reply(status(code, "ANY", &secret), Asked::Post));
        assert_eq!(body["message"], message);
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    }
}

#[test]
fn a_status_without_a_reason_still_has_a_documented_answer() {
    let table = [
        (Code::Unavailable, 503, "DATABASE_UNAVAILABLE"),
        (Code::Cancelled, 504, "DEADLINE_EXCEEDED"),
        (Code::DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
        (Code::ResourceExhausted, 429, "OVERLOADED"),
        (Code::Unauthenticated, 503, "DATABASE_UNAVAILABLE"),
        (Code::PermissionDenied, 503, "DATABASE_UNAVAILABLE"),
        (Code::Unknown, 500, "INTERNAL"),
        (Code::Unimplemented, 500, "INTERNAL"),
        (Code::NotFound, 500, "INTERNAL"),
        (Code::OutOfRange, 500, "INTERNAL"),
    ];
    for (code, expected, reason) in table {
        let reply = reply(Status::new(code, "no details"), Asked::Post);
        assert_eq!((reply.status.as_u16(), reply.reason()), (expected, reason));
        let has_retry_after = reply.retry_after_seconds.is_some();
        assert_eq!(has_retry_after, matches!(expected, 429 | 503), "{code:?}");
    }
}

#[test]
fn all_bad_fields_are_in_the_message_and_in_the_errors() {
    let faults = vec![("product_id", "is required"), ("qty", "is odd"), ("qty", "is red")];
    let reply = Reply::from(BadRequest::Fields(faults));
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    let expected = json!({
        "message": "product_id is required; qty is odd; qty is red",
        "reason": "INVALID_ARGUMENT",
        "errors": {"product_id": ["is required"], "qty": ["is odd", "is red"]},
    });
    assert_eq!(body(&reply), expected);
}

#[test]
fn a_long_meaningless_id_is_not_echoed_whole() {
    let reply = Reply::no_such_product(&"ü".repeat(5_000));
    assert_eq!(body(&reply)["details"]["productId"], "ü".repeat(64));
}

/// Finds the reasons as they are written in the code. A new one has to be described, and what is described has to be one.
#[test]
fn each_reason_is_described_and_so_is_no_other() {
    const NEVER_HERE: [&str; 4] =
        ["PAYMENT_EXCEPTION_NOT_FOUND", "ORDER_PAID", "PAYMENT_NOT_ACCEPTABLE", "UNIMPLEMENTED"];
    let description: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
    let is_reason = |text: &&str| text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let written = include_str!("../reply.rs").split('"').filter(is_reason);
    let mut reasons: Vec<&str> = written.chain(crate::metrics::REASONS.iter().copied()).collect();
    reasons.retain(|reason| !NEVER_HERE.contains(reason));
    reasons.sort_unstable();
    reasons.dedup();
    let listed = description["components"]["schemas"]["Reason"]["enum"].as_array().unwrap();
    let listed: Vec<&str> = listed.iter().map(|reason| reason.as_str().unwrap()).collect();
    assert_eq!(listed, reasons);

    // Each stands in an answer, too.
    let answers = [&description["paths"], &description["components"]["responses"]].map(ToString::to_string).concat();
    for reason in reasons {
        assert!(answers.contains(&format!("\"{reason}\"")), "{reason} is in no answer");
    }
}

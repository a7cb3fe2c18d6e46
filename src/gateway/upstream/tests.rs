use std::collections::HashMap;

use http::HeaderValue;
use tonic::ConnectError;

use super::*;

fn from_wire(code: Code) -> CallError {
    CallError::from(Status::new(code, "said by something at that address"))
}

#[tokio::test]
async fn the_server_is_addressed_by_scheme_host_and_port_only() {
    let at = |url: &str| Upstream::new(&url.parse().unwrap(), Duration::from_secs(5)).map(|_| ());
    for url in ["http://127.0.0.1:50051", "http://[::1]:50051/", "http://server.internal"] {
        assert_eq!(at(url), Ok(()), "{url}");
    }
    let refused = [
        "ftp://127.0.0.1:50051",
        "server:50051",
        "/server",
        "http://user@127.0.0.1:50051",
        "http://:password@127.0.0.1:50051",
        "http://127.0.0.1:50051/prefix",
        "http://127.0.0.1:50051/?a=b",
    ];
    for url in refused {
        let error = at(url).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:50051: "), "{url}: {error}");
        assert!(!error.contains("password@"), "{error}");
    }
}

#[test]
fn an_error_info_of_the_server_is_a_refusal_whatever_the_code() {
    for code in [Code::NotFound, Code::Cancelled, Code::Unavailable, Code::Unknown] {
        let details = tonic_types::ErrorDetails::with_error_info("SOME_REASON", ERROR_DOMAIN, HashMap::new());
        let error = CallError::from(Status::with_error_details(code, "text", details));
        assert!(matches!(&error, CallError::Refused { info, .. } if info.reason == "SOME_REASON"), "{error:?}");
    }
    for (reason, domain) in [("SOME_REASON", "googleapis.com"), ("", ERROR_DOMAIN)] {
        let details = tonic_types::ErrorDetails::with_error_info(reason, domain, HashMap::new());
        let error = CallError::from(Status::with_error_details(Code::Internal, "text", details));
        assert!(matches!(error, CallError::Unexplained(_)), "{error:?}");
    }
}

#[test]
fn a_status_without_a_reason_is_told_apart_by_where_it_was_made() {
    for code in [Code::Cancelled, Code::DeadlineExceeded] {
        assert!(matches!(from_wire(code), CallError::TimedOut), "{code:?}");
    }
    assert!(matches!(from_wire(Code::Unavailable), CallError::Unreachable(_)));
    for code in [Code::Unknown, Code::Internal, Code::NotFound, Code::Unimplemented] {
        assert!(matches!(from_wire(code), CallError::Unexplained(_)), "{code:?}");
    }

    let expired = CallError::from(Status::from_error(Box::new(Wrapped(TimeoutExpired(())))));
    assert!(matches!(expired, CallError::TimedOut), "{expired:?}");
    let refused = ConnectError("connection refused".into());
    let away = CallError::from(Status::from_error(Box::new(Wrapped(refused))));
    assert!(matches!(away, CallError::Unreachable(_)), "{away:?}");
    let broken = std::io::Error::other("connection reset");
    let broken = CallError::from(Status::from_error(Box::new(Wrapped(broken))));
    assert!(matches!(broken, CallError::Unreachable(_)), "{broken:?}");
}

#[test]
fn the_trace_context_is_passed_on_and_nothing_else_or_oversized() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(traceparent));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
    headers.insert("authorization", HeaderValue::from_static("Basic secret"));
    headers.insert("grpc-timeout", HeaderValue::from_static("1n"));
    let passed = trace_headers(&headers);
    assert_eq!(passed.len(), 2);
    assert_eq!(passed["traceparent"], traceparent);
    assert_eq!(passed["tracestate"], "vendor=1");

    let huge = "v".repeat(TRACE_HEADER_BYTES_MAX + 1);
    headers.insert("tracestate", huge.parse().unwrap());
    headers.insert("traceparent", HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(trace_headers(&headers).is_empty());
}

#[tokio::test]
async fn a_call_carries_its_deadline_and_the_callers_trace_context() {
    let url = "http://127.0.0.1:50051".parse().unwrap();
    let upstream = Upstream::new(&url, Duration::from_secs(5)).unwrap();
    let mut headers = HeaderMap::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", HeaderValue::from_static(traceparent));
    let request = upstream.request(&headers, ());
    assert_eq!(request.metadata().get("traceparent").unwrap(), traceparent);
    assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "5000000u");
}

/// An error as a transport reports it: the cause is its source.
#[derive(Debug)]
struct Wrapped<E>(E);

impl<E: Error + 'static> fmt::Display for Wrapped<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("transport error")
    }
}

impl<E: Error + 'static> Error for Wrapped<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

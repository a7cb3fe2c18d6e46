use http::HeaderValue;

use super::*;

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

#[test]
fn a_call_carries_the_callers_trace_context() {
    let mut headers = HeaderMap::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", HeaderValue::from_static(traceparent));
    let span = ClientCall::start("any/Method", "server", None);
    assert_eq!(request(&span, &headers, ()).metadata().get("traceparent").unwrap(), traceparent);
}

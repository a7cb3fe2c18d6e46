//! Tests the shape of log lines and their traces, with a buffer in place of stdout.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use http::HeaderMap;
use serde_json::{Value, json};
use tracing::{debug, error, info, subscriber, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::spans::{
    self, Ends,
    rpc::{ClientCall, Method, ServerCall},
};

/// Collects written lines.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Buffer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Returns the lines that `work` logs.
fn logged(filter: &str, work: impl FnOnce()) -> Vec<Value> {
    let buffer = Buffer::default();
    let subscriber = tracing_subscriber::registry()
        .with(json::JsonLines::new(buffer.clone(), "test").with_filter(log_filter(Some(filter)).unwrap()));
    subscriber::with_default(subscriber, work);
    let bytes = buffer.0.lock().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Returns a line without the fields that differ from run to run.
fn without_time(mut line: Value) -> Value {
    let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
    let time = time.as_str().unwrap();
    // RFC 3339, UTC, microseconds: 2025-01-27T12:32:00.000000Z.
    assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    chrono::DateTime::parse_from_rfc3339(time).unwrap();
    line
}

fn traceparent(flags: &str) -> HeaderMap {
    let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    [(http::HeaderName::from_static("traceparent"), parent.parse().unwrap())].into_iter().collect()
}

#[test]
fn fields_are_at_the_top_level_with_the_types_they_have() {
    let lines = logged("info", || {
        info!(hold_id = 123_i64, product_id = 1_i64, qty = 5_i32, "Hold created");
        info!(idempotency_key = "key\"\n\u{1}é", order_id = 456_i64, result = %"applied", first_time = true, "Payment webhook handled");
        warn!(share = 0.5, none = Option::<i64>::None, some = Some("text"), list = ?["a"], "Other {}", "types");
    });
    let expected = [
        json!({"level": "INFO", "message": "Hold created", "service": "test", "hold_id": 123, "product_id": 1, "qty": 5}),
        json!({"level": "INFO", "message": "Payment webhook handled", "service": "test", "idempotency_key": "key\"\n\u{1}é",
            "order_id": 456, "result": "applied", "first_time": true}),
        json!({"level": "WARN", "message": "Other types", "service": "test", "share": 0.5, "some": "text", "list": "[\"a\"]"}),
    ];
    assert_eq!(lines.into_iter().map(without_time).collect::<Vec<_>>(), expected);
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug)]
    struct Outer(io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("no answer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let outer = Outer(io::Error::other("broken pipe"));
    let lines = logged("info", || error!(error = &outer as &dyn std::error::Error, "Payment webhook failed"));
    assert_eq!(lines[0]["error"], "no answer: broken pipe");
}

#[test]
fn a_line_keeps_its_own_fields_when_an_event_uses_their_names() {
    let lines = logged("info", || {
        info!(target: "other::crate", level = 9, service = "theirs", trace_id = "theirs");
    });
    let line = without_time(lines[0].clone());
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["service"], "test");
    assert_eq!(line["target"], "other::crate");
    assert_eq!(
        (&line["field.level"], &line["field.service"], &line["field.trace_id"]),
        (&json!(9), &json!("theirs"), &json!("theirs"))
    );
    assert!(line["message"].as_str().unwrap().starts_with("event "), "an event without a message says where it is");
    assert!(line.get("trace_id").is_none());
}

#[test]
fn a_value_that_logs_while_it_is_formatted_harms_no_line() {
    struct Talkative;
    impl std::fmt::Debug for Talkative {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            info!("inner");
            formatter.write_str("outer")
        }
    }
    struct Broken;
    impl std::fmt::Debug for Broken {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let lines = logged("info", || {
        info!(value = ?Talkative, "first");
        info!(value = ?Broken, after = 1, "second");
    });
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert!(messages.contains(&"first") && messages.contains(&"second"), "{lines:?}");
    assert_eq!(lines.last().unwrap()["value"], "(can't be formatted)");
    assert_eq!(lines.last().unwrap()["after"], 1);
}

#[test]
fn the_filter_is_info_unless_told_otherwise_and_a_bad_one_is_refused() {
    let count = |filter: &str| logged(filter, || (debug!("d"), info!("i"), warn!("w")).2).len();
    assert_eq!(count(""), 2);
    assert_eq!(count("warn"), 1);
    assert_eq!(count("off"), 0);
    assert_eq!(count("flashsale=debug"), 3);
    let refused = log_filter(Some("flashsale=loud")).unwrap_err().to_string();
    assert!(refused.starts_with("RUST_LOG can't be used: "), "{refused}");
}

/// Starts a call with these headers. Nothing is exported here, so its ids are the caller's.
fn call(headers: &HeaderMap) -> ServerCall {
    ServerCall::start(Method::Known("flashsale.v1.FlashSaleService/CreateHold"), headers, Ends::default(), None)
}

#[test]
fn the_callers_trace_is_in_the_lines_of_its_request_and_in_no_other() {
    let lines = logged("warn", || {
        let call = call(&traceparent("01"));
        spans::within(call.ids(), || {
            warn!("inside");
            tracing::warn_span!("another crate's span").in_scope(|| warn!("deeper"));
        });
        warn!("outside");
        spans::within(call.ids(), || spans::within(None, || warn!("on its own")));
    });
    for line in &lines[..2] {
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{line}");
        assert_eq!(line["span_id"], "00f067aa0ba902b7", "{line}");
    }
    for line in &lines[2..] {
        assert!(line.get("trace_id").is_none() && line.get("span_id").is_none(), "{line}");
    }
}

#[test]
fn without_a_valid_traceparent_and_an_exporter_there_is_no_trace() {
    assert_eq!(call(&HeaderMap::new()).ids(), None);
    assert_eq!(spans::job("sweep").ids(), None);
    for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let headers = [(http::HeaderName::from_static("traceparent"), bad.parse().unwrap())].into_iter().collect();
        assert_eq!(call(&headers).ids(), None, "{bad}");
    }
}

#[test]
fn the_trace_is_passed_on_with_the_callers_choice_to_sample() {
    let mut headers = HeaderMap::new();
    ClientCall::start("flashsale.v1.FlashSaleService/CreateHold", "server", None).inject(&mut headers);
    assert!(headers.is_empty());
    for flags in ["00", "01"] {
        let incoming = traceparent(flags);
        let call = call(&incoming);
        headers.insert("tracestate", "vendor=1".parse().unwrap());
        spans::within(call.ids(), || {
            ClientCall::start("flashsale.v1.FlashSaleService/CreateHold", "server", None).inject(&mut headers);
        });
        // No span of this process is exported, so the caller's stays the parent.
        assert_eq!(headers["traceparent"], incoming["traceparent"]);
        assert_eq!(headers["tracestate"], "vendor=1");
    }
}

#[test]
fn few_lines_of_the_exporters_are_written_and_all_others() {
    let buffer = Buffer::default();
    let filter = log_filter(None).unwrap().and(FewOfExporters::new());
    let lines = json::JsonLines::new(buffer.clone(), "test").with_filter(filter);
    subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        for _ in 0..3 {
            tracing::error!(target: "opentelemetry_sdk", "can't export");
            info!("our own");
        }
    });
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    assert_eq!((text.matches("can't export").count(), text.matches("our own").count()), (1, 3), "{text}");
}

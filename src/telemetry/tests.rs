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
    let traces = trace::Traces::without_exporter("test");
    let subscriber = tracing_subscriber::registry()
        .with(traces.layer().with_filter(traced()))
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

#[test]
fn the_callers_trace_is_in_the_lines_of_its_request_and_in_no_other() {
    let lines = logged("warn", || {
        let span = request_span("create_hold", &traceparent("01"));
        span.in_scope(|| warn!("inside"));
        info_span_inside(&span);
        warn!(parent: &span, "by its parent");
        warn!("outside");
        span.in_scope(|| warn!(parent: None, "on its own"));
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for line in &lines[..3] {
        assert_eq!(line["trace_id"], trace, "{line}");
        let span = line["span_id"].as_str().unwrap();
        assert!(span.len() == 16 && span != "00f067aa0ba902b7", "a span of its own: {line}");
    }
    assert_eq!(lines[0]["span_id"], lines[2]["span_id"]);
    assert_ne!(lines[0]["span_id"], lines[1]["span_id"]);
    for line in &lines[3..] {
        assert!(line.get("trace_id").is_none() && line.get("span_id").is_none(), "{line}");
    }
}

#[test]
fn a_span_of_the_log_alone_leaves_its_lines_in_the_trace_around_it() {
    let lines = logged("debug", || {
        request_span("create_hold", &traceparent("01")).in_scope(|| {
            warn!("around");
            tracing::debug_span!("transaction").in_scope(|| warn!("inside"));
        });
        tracing::debug_span!("transaction").in_scope(|| warn!("outside"));
    });
    assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&lines[0]["trace_id"], &lines[0]["span_id"]), (&lines[1]["trace_id"], &lines[1]["span_id"]));
    assert!(lines[2].get("trace_id").is_none());
}

fn info_span_inside(span: &tracing::Span) {
    let _request = span.enter();
    let inner = tracing::info_span!("transaction");
    inner.in_scope(|| warn!("deeper"));
}

#[test]
fn without_a_valid_traceparent_and_an_exporter_there_is_no_span() {
    logged("info", || {
        assert!(request_span("create_hold", &HeaderMap::new()).is_none());
        assert!(job_span("sweep").is_none());
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            let headers = [(http::HeaderName::from_static("traceparent"), bad.parse().unwrap())].into_iter().collect();
            assert!(request_span("create_hold", &headers).is_none(), "{bad}");
        }
    });
}

#[test]
fn the_trace_is_passed_on_with_the_callers_choice_to_sample() {
    logged("info", || {
        let mut headers = HeaderMap::new();
        inject_current(&mut headers);
        assert!(headers.is_empty());
        for flags in ["00", "01"] {
            request_span("create_hold", &traceparent(flags)).in_scope(|| inject_current(&mut headers));
            let sent = headers["traceparent"].to_str().unwrap();
            assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{sent}");
            assert!(!sent.contains("00f067aa0ba902b7") && sent.ends_with(flags), "{sent}");
        }
    });
}

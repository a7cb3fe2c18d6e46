//! Covers logs and traces of a whole process: nothing is lost at its end, and a collector gets the spans.

mod away;
pub(crate) mod collector;
mod conventions;
mod principals;

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use flashsale::{
    spans,
    telemetry::{self, LogFormat, WhenFull},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use collector::{Collector, PROTOCOLS};

const LINES: u64 = 20_000;

/// Runs the process that the tests here start, and is no test itself.
///
/// Its one thread is busy until the end, and drops the guard while its runtime waits.
#[test]
#[ignore = "a program that other tests start"]
fn program() {
    let guard = telemetry::init("flashsale-test", LogFormat::Json, WhenFull::Drop).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let span = spans::job("sweep");
        spans::within(span.ids(), || tracing::info!("In the span"));
        drop(span);
        let _panicked = std::thread::spawn(|| panic!("a bug")).join();
        for n in 0..LINES {
            tracing::info!(n, "Line");
        }
        guard.shutdown();
    });
}

/// Runs `program`, and returns its lines on stdout and how long it took.
async fn run(env: &[(&str, &str)]) -> (Vec<Value>, Duration) {
    let (lines, _, took) = run_to_end(env).await;
    (lines, took)
}

/// Runs `program`, and returns its lines on stdout, its stderr, and how long it took.
async fn run_to_end(env: &[(&str, &str)]) -> (Vec<Value>, String, Duration) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "telemetry::program", "--ignored", "--nocapture"]).env_clear().envs(env.iter().copied());
    let started = Instant::now();
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    // The first line stands behind the test runner's own words.
    let lines = stdout.lines().filter_map(|line| Some(&line[line.find('{')?..]));
    let lines = lines.map(|line| serde_json::from_str(line).expect(line)).collect();
    (lines, String::from_utf8_lossy(&output.stderr).into_owned(), started.elapsed())
}

fn with_message<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

/// Returns an id as log lines have it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_line_is_missing(lines: &[Value]) {
    let numbers: Vec<_> = with_message(lines, "Line").iter().filter_map(|line| line["n"].as_u64()).collect();
    assert!(numbers.iter().copied().eq(0..LINES), "{} lines of {LINES}, in order", numbers.len());
}

#[tokio::test]
async fn a_short_process_sends_its_spans_and_writes_all_its_lines_before_it_ends() {
    for protocol in PROTOCOLS {
        let (collector, url) = Collector::start(protocol).await;
        let (lines, took) = run(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab"),
        ])
        .await;
        assert!(took < Duration::from_secs(4), "{protocol}: {took:?}");
        no_line_is_missing(&lines);

        let spans = collector.spans();
        assert_eq!(spans.len(), 1, "{protocol}: {spans:?}");
        assert_eq!((&*spans[0].name, spans[0].kind()), ("sweep", SpanKind::Internal));
        assert_eq!(collector.authorization(), "Bearer token");
        assert_eq!(collector.resource("service.name"), "flashsale-test");
        assert_eq!(collector.resource("service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(collector.resource("service.instance.id").len(), 36);
        assert_eq!(collector.resource("deployment.environment.name"), "lab");
        let inside = with_message(&lines, "In the span");
        assert_eq!(inside[0]["trace_id"], hex(&spans[0].trace_id));
        assert_eq!(inside[0]["span_id"], hex(&spans[0].span_id));
        assert_eq!(inside[0]["service"], "flashsale-test");
    }
}

#[tokio::test]
async fn the_standards_variables_name_the_service_and_switch_traces_off() {
    let (collector, url) = Collector::start("grpc").await;
    let endpoint = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*url);
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")]
    {
        let (lines, _) = run(&[endpoint, off]).await;
        no_line_is_missing(&lines);
        assert!(collector.spans().is_empty(), "{off:?}");
    }
    run(&[endpoint, ("OTEL_SERVICE_NAME", "checkout"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")]).await;
    assert_eq!(collector.spans().len(), 1);
    assert_eq!(collector.resource("service.name"), "checkout");
}

#[tokio::test]
async fn a_panic_is_a_line_of_the_log_and_nothing_is_on_stderr() {
    let (lines, stderr, _) = run_to_end(&[]).await;
    let panicked = with_message(&lines, "Panicked");
    assert_eq!(panicked.len(), 1, "{panicked:?}");
    assert_eq!((&panicked[0]["level"], &panicked[0]["reason"]), (&"ERROR".into(), &"a bug".into()));
    assert!(panicked[0]["location"].as_str().unwrap().contains("telemetry.rs:"), "{panicked:?}");
    assert!(panicked[0].get("backtrace").is_none(), "nobody asked for it: {panicked:?}");
    assert_eq!(stderr, "");
    let (lines, _) = run(&[("RUST_BACKTRACE", "1")]).await;
    assert!(with_message(&lines, "Panicked")[0]["backtrace"].is_string());
}

/// A process that sends no spans has no trace, and its lines have none.
#[tokio::test]
async fn without_a_collector_lines_have_no_trace() {
    let (lines, _) = run(&[]).await;
    no_line_is_missing(&lines);
    assert!(lines.iter().all(|line| line.get("trace_id").is_none()));
    assert!(
        lines.iter().all(|line| line.get("target").is_none_or(|target| target == "it::telemetry")),
        "no other voices"
    );
}

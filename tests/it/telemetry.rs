//! Covers logs and traces of a whole process: nothing is lost at its end, and a collector gets the spans.

use std::{
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flashsale::telemetry::{self, LogFormat, WhenFull};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, span::SpanKind},
};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::support::{
    database::TestDatabase,
    programs::{GatewayProgram, ServerProgram, sweep},
};

const LINES: u64 = 20_000;

/// Runs the process that the tests here start, and is no test itself.
///
/// Its one thread is busy until the end, and drops the guard while its runtime waits.
#[test]
#[ignore = "a program that other tests start"]
fn program() {
    let guard = telemetry::init("flashsale-test", LogFormat::Json, WhenFull::Drop).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let span = telemetry::job_span("sweep");
        span.in_scope(|| tracing::info!("In the span"));
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

/// Runs a collector of traces that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)),
        );
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        self.spans_of("")
    }

    /// Returns the spans of a service, by a part of its name.
    fn spans_of(&self, service: &str) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let of_service = resources.filter(|spans| format!("{:?}", spans.resource).contains(service));
        of_service.flat_map(|spans| &spans.scope_spans).flat_map(|spans| spans.spans.clone()).collect()
    }

    fn resource(&self, key: &str) -> String {
        let requests = self.0.lock().unwrap();
        let resource = requests[0].resource_spans[0].resource.clone().unwrap();
        let attribute = resource.attributes.into_iter().find(|attribute| attribute.key == key).unwrap();
        format!("{:?}", attribute.value)
    }
}

#[tokio::test]
async fn a_short_process_sends_its_spans_and_writes_all_its_lines_before_it_ends() {
    let (collector, url) = Collector::start().await;
    let (lines, took) =
        run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab")]).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    no_line_is_missing(&lines);

    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!((&*spans[0].name, spans[0].kind()), ("sweep", SpanKind::Internal));
    assert!(collector.resource("service.name").contains("flashsale-test"));
    assert!(collector.resource("deployment.environment").contains("lab"));
    let inside = with_message(&lines, "In the span");
    assert_eq!(inside[0]["trace_id"], hex(&spans[0].trace_id));
    assert_eq!(inside[0]["span_id"], hex(&spans[0].span_id));
    assert_eq!(inside[0]["service"], "flashsale-test");
}

#[tokio::test]
async fn the_standards_variables_name_the_service_and_switch_traces_off() {
    let (collector, url) = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*url);
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")]
    {
        let (lines, _) = run(&[endpoint, off]).await;
        no_line_is_missing(&lines);
        assert!(collector.spans().is_empty(), "{off:?}");
    }
    run(&[endpoint, ("OTEL_SERVICE_NAME", "checkout")]).await;
    assert_eq!(collector.spans().len(), 1);
    assert!(collector.resource("service.name").contains("checkout"));
}

#[tokio::test]
async fn a_collector_that_is_away_delays_nobody_and_is_told() {
    let (lines, stderr, took) = run_to_end(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")]).await;
    no_line_is_missing(&lines);
    assert!(took < Duration::from_secs(15), "{took:?}");
    // The error comes after the last line of the log, so it is on stderr.
    assert_eq!(lines.last().unwrap()["message"], "Line");
    assert!(stderr.contains("opentelemetry_sdk"), "{stderr}");
}

/// Spans are sent every ten minutes here, so those that arrive were sent at the end.
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_send_their_spans_before_they_end_and_a_call_is_one_trace() {
    let (collector, url) = Collector::start().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let database = TestDatabase::create("spans").await;
    let server = ServerProgram::start(&database.url(), &settings).await;
    let unsigned = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
    let gateway = GatewayProgram::start(&server.address, &[&settings[..], &[unsigned]].concat()).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = serde_json::json!({"product_id": product_id, "qty": 1});
    let held = http.post(format!("http://{}/api/holds", gateway.address)).json(&body).send().await.unwrap();
    assert_eq!(held.status(), 201);
    assert_eq!(sweep(&database.url(), &settings).await.0, 0);
    assert_eq!(collector.spans_of("flashsale-server").len() + collector.spans_of("flashsale-gateway").len(), 0);
    gateway.stop().await;
    let lines = server.stop().await;

    let of_gateway = collector.spans_of("flashsale-gateway");
    let of_server: Vec<Span> =
        collector.spans_of("flashsale-server").into_iter().filter(|span| span.name == "create_hold").collect();
    assert_eq!((of_gateway.len(), of_server.len()), (1, 1), "{of_gateway:?} {of_server:?}");
    assert_eq!((of_gateway[0].kind(), of_server[0].kind()), (SpanKind::Server, SpanKind::Server));
    assert!(of_gateway[0].parent_span_id.is_empty());
    assert_eq!(of_server[0].parent_span_id, of_gateway[0].span_id);
    assert_eq!(of_server[0].trace_id, of_gateway[0].trace_id);
    assert_eq!(with_message(&lines, "Hold created")[0]["trace_id"], hex(&of_gateway[0].trace_id));
    let of_sweeper = collector.spans_of("flashsale-sweeper");
    assert_eq!((of_sweeper.len(), &*of_sweeper[0].name), (1, "sweep"), "{of_sweeper:?}");
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
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

//! Log lines on stdout, and traces and metrics by OTLP.
//!
//! | variable | meaning |
//! |---|---|
//! | `RUST_LOG` | what is logged, in the syntax of `tracing-subscriber`; `info` when unset or empty |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_TRACES_ENDPOINT`, `…_METRICS_ENDPOINT` | where spans and metrics go, by OTLP; unset: nowhere |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL` | `grpc` when unset, or `http/protobuf` |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_INSECURE`, `OTEL_BSP_*` | as OpenTelemetry defines them |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | the resource; when unset, the service has the name in the log field `service` |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which spans are sent, `parentbased_always_on` when unset |
//! | `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `true`, `none`: no spans, no metrics are sent |
//! | `OTEL_METRIC_EXPORT_INTERVAL` | how often metrics are sent, in milliseconds; 60000 when unset |
//!
//! Every request logs, so logging has to be cheap: `json` builds a line and `log_thread` writes it. Nothing else in a
//! running program writes to stdout or stderr, or waits for their readers. A panic is a line of the log, too.

mod collector;
mod encode;
mod ending;
mod exporters;
mod few;
mod json;
mod log_thread;
mod otlp;
mod resource;
mod sampler;
mod span_queue;
mod traces;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    time::Duration,
};

use opentelemetry_sdk::metrics::PeriodicReader;
use tracing_subscriber::{
    EnvFilter, Layer, filter::FilterExt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    metrics,
    startup::{BadSetting, Stop},
};

use exporters::FewOfExporters;
use log_thread::LogThread;

pub use few::Few;
pub use log_thread::WhenFull;
pub use traces::send as send_spans;

/// Says how log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Text for people.
    Text,
}

/// Says how long the end of a program waits for a reader of its log who has stopped reading.
const LOG_FLUSH_MAX: Duration = Duration::from_millis(2500);
/// Says how long the end of a program waits for a reader of stderr who has stopped reading.
const STDERR_FLUSH_MAX: Duration = Duration::from_millis(500);
/// Says how long a program that nobody calls waits for room in its log. A reader below 0.8 MB/s is too slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Says how often metrics are sent, in milliseconds: OpenTelemetry's default.
const EXPORT_INTERVAL_MS: usize = 60_000;
/// Bounds that interval: an hour.
const EXPORT_INTERVAL_MS_MAX: usize = 3_600_000;

/// Starts logs, traces and metrics. Must be called once in a process, before there is a runtime.
///
/// `service` is the log field of that name. It also names the service of the traces, unless `OTEL_SERVICE_NAME` is set.
/// `when_full` says what happens to lines that nobody reads.
///
/// # Errors
/// [`Stop`]: a variable can't be used, or the process has a subscriber already.
pub fn init(service: &'static str, format: LogFormat, when_full: WhenFull) -> Result<Guard, Stop> {
    let filter = log_filter(env::var("RUST_LOG").ok().as_deref())?;
    let traces = traces::Traces::from_env(service)?;
    start_metrics(service, when_full)?;
    let (log, stderr) = start_threads(when_full).map_err(|error| Stop::failed("no thread for the log", error))?;
    let lines = match format {
        LogFormat::Json => json::JsonLines::new(log.clone(), service).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_writer(log.clone())
            .with_ansi(io::stdout().is_terminal())
            // The thread that logs would write them to stderr, and wait for its reader.
            .log_internal_errors(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.and(FewOfExporters::new())))
        .try_init()
        .map_err(|error| Stop::failed("no subscriber for the log", error))?;
    traces.install();
    panic::set_hook(Box::new(log_panic));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting");
    Ok(Guard { traces, log, stderr })
}

/// Makes the meter, which also sends by OTLP where the environment asks for it.
///
/// A program that waits for readers of its log is short. What it counts would begin at 0 each time, so it sends nothing.
fn start_metrics(service: &'static str, when_full: WhenFull) -> Result<(), Stop> {
    let exporter = match when_full {
        WhenFull::Drop => otlp::metric_exporter()?,
        WhenFull::Wait(_) => None,
    };
    let interval =
        traces::number(otlp::value, "OTEL_METRIC_EXPORT_INTERVAL", EXPORT_INTERVAL_MS, EXPORT_INTERVAL_MS_MAX)?;
    let interval = Duration::from_millis(u64::try_from(interval).unwrap_or(u64::MAX));
    let sender = exporter.map(|exporter| PeriodicReader::builder(exporter).with_interval(interval).build());
    metrics::install(resource::resource(service), sender)
        .map_err(|error| Stop::failed("no meter for the metrics", error))
}

/// Starts the threads that write to stdout and, after the end of the log, to stderr.
///
/// Each thread has its own file. Those of the standard library are locked during a write, and keep the rest of a line
/// that could not be written.
fn start_threads(when_full: WhenFull) -> io::Result<(LogThread, LogThread)> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let stderr = LogThread::start(stderr, WhenFull::Drop, None, |_, _| {})?;
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let tell_lost = |_: &_, dropped| tracing::warn!(dropped, "Log lines were dropped: nobody read them");
    let log = LogThread::start(stdout, when_full, Some(stderr.clone()), tell_lost)?;
    Ok((log, stderr))
}

/// Logs a panic. The hook of the standard library would write to stderr, and wait for its reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let payload = panic.payload();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    tracing::error!(
        reason = formatted.or_else(|| payload.downcast_ref::<&str>().copied()),
        location = panic.location().map(tracing::field::display),
        backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace)),
        "Panicked"
    );
}

/// Keeps logs and traces running. When it is dropped, it sends and writes everything that still waits.
///
/// The drop blocks: up to 3 s for readers of stdout and stderr who have stopped reading, and 4 s for a collector that
/// doesn't answer. It needs no runtime, and may be dropped on any.
#[must_use = "logs and traces end when it is dropped"]
pub struct Guard {
    traces: traces::Traces,
    log: LogThread,
    stderr: LogThread,
}

impl Guard {
    /// Writes a line to stderr, without waiting for its reader.
    pub fn say_on_stderr(&self, text: &str) {
        // This writer accepts every line.
        let _ = self.stderr.make_writer().write_all(format!("{text}\n").as_bytes());
    }

    /// Sends the spans and writes the lines that are still waiting.
    pub fn shutdown(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        // What the exporter complains about goes to the log.
        self.traces.end();
        end_metrics();
        self.log.end(LOG_FLUSH_MAX);
        self.stderr.end(STDERR_FLUSH_MAX);
    }
}

/// Sends the metrics for the last time, in what is left of the time that the end has for collectors.
fn end_metrics() {
    ending::begin();
    if let Err(error) = metrics::shutdown(ending::ENDING_MAX) {
        tracing::warn!(error, "Metrics could not be sent");
    }
}

/// Reads the filter of log lines from the text of `RUST_LOG`.
fn log_filter(text: Option<&str>) -> Result<EnvFilter, BadSetting> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("info");
    EnvFilter::builder().parse(text).map_err(|error| BadSetting::new("RUST_LOG", format!("can't be used: {error}")))
}

#[cfg(test)]
mod tests;

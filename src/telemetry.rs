//! What a running program tells: log lines on stdout, traces by OTLP, metrics for Prometheus.
//!
//! | variable | meaning |
//! |---|---|
//! | `RUST_LOG` | what is logged, in the syntax of `tracing-subscriber`; `info` when unset or empty |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | where spans go, by OTLP over gRPC; unset: nowhere |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_INSECURE`, `OTEL_BSP_*` | as OpenTelemetry defines them |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | the resource; the service is named like the log field `service` when unset |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which spans are sent, `parentbased_always_on` when unset |
//! | `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` | `true`, `none`: no spans are sent |
//!
//! Logging is on the path of every request, so a line is put together by `json` and written by `log_thread`. Nothing in
//! a running program writes to stdout or stderr itself, or waits for whoever reads them: a panic is a line of the log,
//! too.

mod json;
mod log_thread;
mod metrics;
mod trace;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    time::Duration,
};

use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::startup::{BadSetting, Stop};

use log_thread::LogThread;

pub use log_thread::WhenFull;
pub use metrics::serve_metrics;
pub use trace::{inject_current, job_span, request_span};

/// Says how log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Text for people.
    Text,
}

/// How long the end of a program waits for a reader of its log who has stopped reading.
const LOG_FLUSH_MAX: Duration = Duration::from_millis(2500);
/// As [`LOG_FLUSH_MAX`], for a reader of stderr.
const STDERR_FLUSH_MAX: Duration = Duration::from_millis(500);
/// How long a program that nobody calls waits for room in its log. A reader that takes less than 0.8 MB/s is too slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Starts logging and tracing, and installs the recorder of the metrics: once in a process, before any runtime.
/// `service` is the log field of that name, and the service of the traces unless `OTEL_SERVICE_NAME` says otherwise.
/// `when_full` says what becomes of lines that nobody reads.
///
/// # Errors
/// [`Stop`]: a variable can't be used, or the process has a subscriber already.
pub fn init(service: &'static str, format: LogFormat, when_full: WhenFull) -> Result<Guard, Stop> {
    let filter = log_filter(env::var("RUST_LOG").ok().as_deref())?;
    let traces = trace::Traces::from_env(service)?;
    metrics::install().map_err(|error| Stop::failed("no recorder for the metrics", error))?;
    let (log, stderr) = start_threads(when_full).map_err(|error| Stop::failed("no thread for the log", error))?;
    let lines = match format {
        LogFormat::Json => json::JsonLines::new(log.clone(), service).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_writer(log.clone())
            .with_ansi(io::stdout().is_terminal())
            // They would be written to stderr by the thread that logs.
            .log_internal_errors(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(traces.layer().with_filter(traced()))
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| Stop::failed("no subscriber for the log", error))?;
    traces.install();
    panic::set_hook(Box::new(log_panic));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting");
    Ok(Guard { traces, log, stderr })
}

/// Starts the threads that write to stdout and, after the log's end, to stderr. Each has a file of its own: the standard
/// library's are locked by whoever writes, and keep a line's rest that could not be written.
fn start_threads(when_full: WhenFull) -> io::Result<(LogThread, LogThread)> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let stderr = LogThread::start(stderr, WhenFull::Drop, None, |_, _| {})?;
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let tell_lost = |_: &_, dropped| tracing::warn!(dropped, "Log lines were dropped: nobody read them");
    let log = LogThread::start(stdout, when_full, Some(stderr.clone()), tell_lost)?;
    Ok((log, stderr))
}

/// Logs a panic. The standard library's hook writes to stderr, and waits for its reader.
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

/// Keeps logs and traces flowing; dropping it, which [`Guard::shutdown`] does, sends and writes what is still waiting.
///
/// It blocks while it does: up to 3 s for readers of stdout and stderr who have stopped reading, and 4 s for a collector
/// of traces that doesn't answer. It needs no runtime, nor does it care in which one it is dropped.
#[must_use = "logs and traces end when it is dropped"]
pub struct Guard {
    traces: trace::Traces,
    log: LogThread,
    stderr: LogThread,
}

impl Guard {
    /// Says something on stderr, without waiting for its reader.
    pub fn say_on_stderr(&self, text: &str) {
        // It takes every line.
        let _ = self.stderr.make_writer().write_all(format!("{text}\n").as_bytes());
    }

    /// Sends the spans and writes the lines that are still waiting.
    pub fn shutdown(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        // First the log: a program's last line is its own, and not the exporter's complaint, which goes to stderr.
        self.log.end(LOG_FLUSH_MAX);
        self.traces.flush();
        self.stderr.end(STDERR_FLUSH_MAX);
    }
}

fn log_filter(text: Option<&str>) -> Result<EnvFilter, BadSetting> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("info");
    EnvFilter::builder().parse(text).map_err(|error| BadSetting::new("RUST_LOG", format!("can't be used: {error}")))
}

/// Spans and events that go into traces: this crate's, whatever `RUST_LOG` says, and nobody else's. The exporter's own
/// calls are none of them, or they would be exported in their turn.
fn traced() -> Targets {
    Targets::new().with_target(env!("CARGO_PKG_NAME"), tracing::Level::INFO)
}

#[cfg(test)]
mod tests;

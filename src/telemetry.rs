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
//! Logging is on the path of every request, so a line is put together by `json` and written by
//! `log_thread`.

mod json;
mod log_thread;
pub mod metrics;
mod trace;

use std::{
    env,
    io::{self, IsTerminal},
    time::Duration,
};

use tracing_subscriber::{EnvFilter, Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Invalid, LogFormat, Stop};

use log_thread::LogThread;

pub use metrics::serve_metrics;
pub use trace::{inject_current, job_span, request_span};

/// How long the end of a program waits for a reader of its log who has stopped reading.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(3);

/// Starts logging and tracing, and installs the recorder of the metrics: once in a process, before any runtime.
/// `service` is the log field of that name, and the service of the traces unless `OTEL_SERVICE_NAME` says otherwise.
///
/// # Errors
/// [`Stop`]: a variable can't be used, or the process has a subscriber already.
pub fn init(service: &'static str, format: LogFormat) -> Result<Guard, Stop> {
    let filter = log_filter(env::var("RUST_LOG").ok().as_deref())?;
    let traces = trace::Traces::from_env(service)?;
    metrics::install().map_err(Stop::Failed)?;
    let log =
        LogThread::start(io::stdout()).map_err(|error| Stop::Failed(format!("no thread for the log: {error}")))?;
    let lines = match format {
        LogFormat::Json => json::JsonLines::new(log.clone(), service).boxed(),
        LogFormat::Text => {
            tracing_subscriber::fmt::layer().with_writer(log.clone()).with_ansi(io::stdout().is_terminal()).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(traces.layer().with_filter(traced()))
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| Stop::Failed(error.to_string()))?;
    traces.install();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "Starting");
    Ok(Guard { traces, log })
}

/// Keeps logs and traces flowing; dropping it, which [`Guard::shutdown`] does, sends and writes what is still waiting.
///
/// It blocks while it does, up to 3 s for a reader of stdout who has stopped reading and 4 s for a collector of traces
/// that doesn't answer. It needs no runtime, nor does it care in which one it is dropped.
#[must_use = "logs and traces end when it is dropped"]
pub struct Guard {
    traces: trace::Traces,
    log: LogThread,
}

impl Guard {
    /// Sends the spans and writes the lines that are still waiting.
    pub fn shutdown(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        // First the log: a program's last line is its own, and not the exporter's complaint, which goes to stderr.
        self.log.end(LOG_FLUSH_MAX);
        self.traces.flush();
    }
}

fn log_filter(text: Option<&str>) -> Result<EnvFilter, Invalid> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("info");
    EnvFilter::builder().parse(text).map_err(|error| Invalid::new("RUST_LOG", format!("can't be used: {error}")))
}

/// Spans and events that go into traces: this crate's, whatever `RUST_LOG` says, and nobody else's. The exporter's own
/// calls are none of them, or they would be exported in their turn.
fn traced() -> Targets {
    Targets::new().with_target(env!("CARGO_PKG_NAME"), tracing::Level::INFO)
}

#[cfg(test)]
mod tests;

//! Makes spans, links them to the caller's trace, and exports them.
//!
//! A span costs microseconds. So a request has a span only where the caller sent a valid `traceparent`, or where the
//! operator has set an exporter.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::HeaderMap;
use opentelemetry::{
    global,
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig, tonic_types::transport::ClientTlsConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, TracerProviderBuilder},
};
use tokio::runtime::Runtime;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

use crate::startup::{BadSetting, Stop};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// Says how long the end of a program waits for the collector to take the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(4);

static EXPORTING: AtomicBool = AtomicBool::new(false);

/// Returns the span of a request, as a child of the trace in its `headers`.
///
/// Without an exporter and without a valid `traceparent` it is [`Span::none`], which costs almost nothing.
#[must_use]
pub fn request_span(name: &'static str, headers: &HeaderMap) -> Span {
    let exporting = EXPORTING.load(Ordering::Relaxed);
    if !exporting && !headers.contains_key("traceparent") {
        return Span::none();
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    let traced = parent.span().span_context().is_valid();
    if !exporting && !traced {
        return Span::none();
    }
    let span = tracing::info_span!(parent: None, "request", otel.name = name, otel.kind = "server");
    if traced {
        // It fails only where no layer takes spans.
        let _ = span.set_parent(parent);
    }
    span
}

/// Returns the span of work that no request asked for, like a sweep. Without an exporter it is [`Span::none`].
#[must_use]
pub fn job_span(name: &'static str) -> Span {
    if !EXPORTING.load(Ordering::Relaxed) {
        return Span::none();
    }
    tracing::info_span!(parent: None, "job", otel.name = name, otel.kind = "internal")
}

/// Puts the trace of the current span into the headers of a call to another program, if there is one.
pub fn inject_current(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_none() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}

/// Takes spans, and exports them where there is an exporter.
pub(super) struct Traces {
    provider: SdkTracerProvider,
    exporter: Option<Runtime>,
}

impl Traces {
    /// Reads the `OTEL_*` variables.
    pub(super) fn from_env(service: &'static str) -> Result<Self, Stop> {
        if !exports() {
            return Ok(Self::without_exporter(service));
        }
        for protocol in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if value(protocol).is_some_and(|protocol| protocol != "grpc") {
                return Err(BadSetting::new(protocol, "can only be grpc").into());
            }
        }
        // The exporter has its own runtime. At the end of a program it must send spans while the program's runtime is
        // blocked, has only one thread, or is gone.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()
            .map_err(|error| Stop::failed("no thread for the exporter of traces", error))?;
        let exporter = {
            let _entered = runtime.enter();
            SpanExporter::builder().with_tonic().with_tls_config(ClientTlsConfig::new().with_enabled_roots()).build()
        };
        match exporter {
            Ok(exporter) => {
                let provider = provider(service).with_batch_exporter(exporter).build();
                Ok(Self { provider, exporter: Some(runtime) })
            }
            Err(error) => {
                runtime.shutdown_background();
                let setting = if value(TRACES_ENDPOINT).is_some() { TRACES_ENDPOINT } else { ENDPOINT };
                Err(BadSetting::new(setting, format!("can't be used: {error}")).into())
            }
        }
    }

    /// Makes spans where a caller has a trace, and exports none.
    pub(super) fn without_exporter(service: &'static str) -> Self {
        Self { provider: provider(service).build(), exporter: None }
    }

    /// Returns the layer that turns spans of `tracing` into spans of a trace.
    ///
    /// It is needed without an exporter, too: it gives log lines the trace of the caller.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
    }

    /// Gives requests spans from now on.
    pub(super) fn install(&self) {
        global::set_text_map_propagator(TraceContextPropagator::new());
        EXPORTING.store(self.exporter.is_some(), Ordering::Relaxed);
    }

    /// Sends the spans that wait, and ends. A second call does nothing.
    pub(super) fn flush(&mut self) {
        let Some(runtime) = self.exporter.take() else { return };
        EXPORTING.store(false, Ordering::Relaxed);
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_MAX) {
            tracing::warn!(error = &error as &dyn std::error::Error, "Spans could not be sent");
        }
        runtime.shutdown_background();
    }
}

fn provider(service: &'static str) -> TracerProviderBuilder {
    SdkTracerProvider::builder().with_resource(resource(service))
}

/// Whether the environment asks for spans to be sent.
fn exports() -> bool {
    let disabled = value("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true"));
    let none = value("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
    !disabled && !none && (value(ENDPOINT).is_some() || value(TRACES_ENDPOINT).is_some())
}

/// Returns the value of a variable. For OpenTelemetry an empty variable is unset.
fn value(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Returns how the environment describes this program. Its name for the service wins over `service`.
fn resource(service: &'static str) -> Resource {
    let is_named = value("OTEL_SERVICE_NAME").is_some()
        || value("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|list| list.split(',').any(|pair| pair.trim_start().starts_with("service.name=")));
    let resource = Resource::builder();
    if is_named { resource.build() } else { resource.with_service_name(service).build() }
}

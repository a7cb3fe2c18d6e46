//! Spans: where they come from, whose children they are, where they go.
//!
//! A span costs microseconds, so a request has one only when somebody wants it: the caller, who sent a valid
//! `traceparent`, or the operator, who set an exporter.

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
/// How long the end of a program waits for the collector to take the last spans.
const FLUSH_MAX: Duration = Duration::from_secs(4);

static EXPORTING: AtomicBool = AtomicBool::new(false);

/// The span of a request that came with `headers`: a child of their trace. [`Span::none`], at almost no cost, where
/// there is neither an exporter nor a valid `traceparent`.
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
        // Fails where no layer takes spans, and then nobody misses it.
        let _ = span.set_parent(parent);
    }
    span
}

/// The span of work that no request asked for, like a sweep: [`Span::none`] where there is no exporter.
#[must_use]
pub fn job_span(name: &'static str) -> Span {
    if !EXPORTING.load(Ordering::Relaxed) {
        return Span::none();
    }
    tracing::info_span!(parent: None, "job", otel.name = name, otel.kind = "internal")
}

/// Puts the current span's trace into the headers of a call to another program. Does nothing where there is no trace.
pub fn inject_current(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_none() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}

/// Where spans go.
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
        // The exporter has a runtime of its own, so that spans can be sent while the program's own runtime is blocked,
        // has only one thread, or is gone: all of it happens at the end.
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

    /// Spans are made where a caller has a trace, and forgotten.
    pub(super) fn without_exporter(service: &'static str) -> Self {
        Self { provider: provider(service).build(), exporter: None }
    }

    /// The layer that makes spans of `tracing` into those of a trace. Also without an exporter: then they are not kept,
    /// but log lines get the trace of the caller.
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

    /// From here on requests get spans.
    pub(super) fn install(&self) {
        global::set_text_map_propagator(TraceContextPropagator::new());
        EXPORTING.store(self.exporter.is_some(), Ordering::Relaxed);
    }

    /// Sends what is waiting, and ends. The second call does nothing.
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

/// Whether spans are to be sent.
fn exports() -> bool {
    let disabled = value("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true"));
    let none = value("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
    !disabled && !none && (value(ENDPOINT).is_some() || value(TRACES_ENDPOINT).is_some())
}

/// A variable's value. OpenTelemetry takes an empty one for an unset one.
fn value(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// What the environment says of this program. It wins over `service`.
fn resource(service: &'static str) -> Resource {
    let told = value("OTEL_SERVICE_NAME").is_some()
        || value("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|list| list.split(',').any(|pair| pair.trim_start().starts_with("service.name=")));
    let resource = Resource::builder();
    if told { resource.build() } else { resource.with_service_name(service).build() }
}

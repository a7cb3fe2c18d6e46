//! Records spans and sends them.
//!
//! Spans wait in a queue of the SDK, which drops those that find it full: no request ever waits for a collector.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{InstrumentationScope, global, trace::TracerProvider};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter},
};

use super::{
    ending::{self, ENDING_MAX},
    otlp::{self, OnRuntime, value},
    resource::resource,
    sampler::OwnSampler,
    seldom::Seldom,
};
use crate::{spans, startup::Stop};

/// Limits the spans that wait, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. A span takes about 1 KiB.
///
/// The busiest sale measured makes them in a sixth of a second.
const QUEUE_MAX: usize = 8192;
/// Limits the spans that are sent together, unless `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says otherwise.
const BATCH_MAX: usize = 1024;
/// Says how often lost spans are told at the most.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Holds the provider of the process, for [`send`].
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Sends spans, where the environment asks for it.
pub(super) struct Traces(Option<Sending>);

struct Sending {
    provider: SdkTracerProvider,
    losses: Arc<Losses>,
}

impl Traces {
    /// Reads the `OTEL_*` variables.
    ///
    /// # Errors
    /// [`Stop`]: a variable can't be used, or there is no thread.
    pub(super) fn from_env(service: &'static str) -> Result<Self, Stop> {
        let sampler = OwnSampler::read(value)?;
        let Some(exporter) = otlp::span_exporter()? else { return Ok(Self(None)) };
        let losses = Arc::new(Losses::default());
        let sender = Sender { exporter: OnRuntime::new(exporter)?, losses: Arc::clone(&losses) };
        let mut config = BatchConfigBuilder::default();
        if value("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
            config = config.with_max_queue_size(QUEUE_MAX);
        }
        if value("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").is_none() {
            config = config.with_max_export_batch_size(BATCH_MAX);
        }
        let processor = BatchSpanProcessor::builder(sender).with_batch_config(config.build()).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(sampler)
            .with_resource(resource(service))
            .build();
        Ok(Self(Some(Sending { provider, losses })))
    }

    /// Has spans recorded from now on.
    pub(super) fn install(&self) {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let Some(sending) = &self.0 else { return };
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(spans::SCHEMA_URL);
        spans::record_with(sending.provider.tracer_with_scope(scope.build()));
        let _first_counts = PROVIDER.set(sending.provider.clone());
    }

    /// Sends the spans that wait, and ends. A second call does nothing.
    pub(super) fn end(&mut self) {
        let Some(Sending { provider, losses }) = self.0.take() else { return };
        ending::begin();
        if let Err(error) = provider.shutdown_with_timeout(ENDING_MAX) {
            tracing::warn!(error = &error as &dyn std::error::Error, "Spans could not be sent");
        }
        losses.tell_rest();
    }
}

/// Sends the spans that wait, for a program whose work is done. It takes as long as the end of the program may take.
///
/// What a program says after it is not followed by complaints about the collector.
pub async fn send() {
    let Some(provider) = PROVIDER.get() else { return };
    ending::begin();
    let flushed = tokio::task::spawn_blocking(|| provider.force_flush());
    // What could not be sent is told by the sender.
    let _told = tokio::time::timeout(ENDING_MAX, flushed).await;
}

/// Sends batches of spans. To the SDK it always succeeds: it tells itself what was lost.
#[derive(Debug)]
struct Sender {
    exporter: OnRuntime<OtlpExporter>,
    losses: Arc<Losses>,
}

impl SpanExporter for Sender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if let Err(error) = self.exporter.run(self.exporter.exporter().export(batch)).await {
            self.losses.lost(spans, &error);
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.exporter().shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.exporter_mut().set_resource(resource);
    }
}

/// Counts the spans that could not be sent, and tells it seldom.
#[derive(Debug)]
struct Losses {
    untold: AtomicU64,
    telling: Seldom,
}

impl Default for Losses {
    fn default() -> Self {
        Self { untold: AtomicU64::new(0), telling: Seldom::every(TELL_EVERY) }
    }
}

impl Losses {
    fn lost(&self, spans: u64, error: &str) {
        self.untold.fetch_add(spans, Ordering::Relaxed);
        if self.telling.is_time() {
            let spans_lost = self.untold.swap(0, Ordering::Relaxed);
            tracing::warn!(error, spans_lost, "Spans could not be sent");
        }
    }

    /// Tells what was lost since the last line.
    fn tell_rest(&self) {
        let spans_lost = self.untold.swap(0, Ordering::Relaxed);
        if spans_lost > 0 {
            tracing::warn!(spans_lost, "Spans could not be sent");
        }
    }
}

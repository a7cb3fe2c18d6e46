//! Records spans and sends them.
//!
//! The SDK makes spans and samples them. What happens to a span after its end is the program's own: the SDK's exporter
//! would cost a hot product more than 5 % of its calls.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{InstrumentationScope, global, trace::TracerProvider};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};

use super::{
    collector::Collector,
    ending::{self, ENDING_MAX},
    otlp::{self, value},
    resource::resource,
    sampler::OwnSampler,
    span_queue::{Batch, Limits, SpanQueue},
};
use crate::{
    seldom::Seldom,
    spans,
    startup::{BadSetting, Stop},
};

/// Limits the spans that wait, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise. A span takes about 350 bytes.
///
/// The busiest sale measured makes them in a third of a second.
const QUEUE_MAX: usize = 16_384;
/// Limits the spans that are sent together, unless `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says otherwise.
const BATCH_MAX: usize = 1024;
/// Says how long spans wait for others, unless `OTEL_BSP_SCHEDULE_DELAY` says otherwise.
const DELAY: Duration = Duration::from_secs(5);
/// Limits these settings.
const SPANS_MAX: usize = 1_000_000;
const DELAY_MAX: Duration = Duration::from_secs(3600);
/// Says how often lost spans are told at the most.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Holds the provider of the process, for [`send`].
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Sends spans, where the environment asks for it.
pub(super) struct Traces(Option<Sending>);

struct Sending {
    provider: SdkTracerProvider,
    queue: SpanQueue,
    losses: Arc<Losses>,
}

impl Traces {
    /// Reads the `OTEL_*` variables.
    ///
    /// # Errors
    /// [`Stop`]: a variable can't be used, or there is no thread.
    pub(super) fn from_env(service: &'static str) -> Result<Self, Stop> {
        let sampler = OwnSampler::read(value)?;
        let limits = limits(value)?;
        let Some(destination) = otlp::destination(otlp::TRACES, value)? else { return Ok(Self(None)) };
        let resource = resource(service);
        let collector = Collector::new(&destination, &resource)
            .map_err(|error| BadSetting::new(destination.setting, format!("can't be used: {error}")))?;
        let losses = Arc::new(Losses::default());
        let (handle, told) = (otlp::runtime()?.clone(), Arc::clone(&losses));
        let send = move |batch: Batch, dropped| {
            told.lost(dropped, "the queue was full");
            if let Err(error) = handle.block_on(ending::cut_short(collector.send(&batch.bytes))) {
                told.lost(u64::try_from(batch.spans).unwrap_or(u64::MAX), &error);
            }
        };
        let queue = SpanQueue::start(limits, send).map_err(|error| Stop::failed("no thread for the spans", error))?;
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue.clone())
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        Ok(Self(Some(Sending { provider, queue, losses })))
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
        let Some(Sending { provider, queue, losses }) = self.0.take() else { return };
        ending::begin();
        if let Err(error) = provider.shutdown_with_timeout(ENDING_MAX) {
            tracing::warn!(error = &error as &dyn std::error::Error, "Spans could not be sent");
        }
        losses.untold.fetch_add(queue.take_dropped(), Ordering::Relaxed);
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

/// Reads a whole number from 1 to `max`. `value` returns a variable that isn't empty.
pub(super) fn number(
    value: impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: usize,
    max: usize,
) -> Result<usize, BadSetting> {
    match value(name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => Err(BadSetting::new(name, format!("is not a number from 1 to {max}"))),
        },
    }
}

/// Reads the limits of the queue. `value` returns a variable that isn't empty.
fn limits(value: impl Fn(&str) -> Option<String>) -> Result<Limits, BadSetting> {
    let number = |name, default, max| number(&value, name, default, max);
    let milliseconds = |duration: Duration| usize::try_from(duration.as_millis()).unwrap_or(usize::MAX);
    let queue_max = number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_MAX, SPANS_MAX)?;
    let batch_max = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_MAX, SPANS_MAX)?.min(queue_max);
    let delay = number("OTEL_BSP_SCHEDULE_DELAY", milliseconds(DELAY), milliseconds(DELAY_MAX))?;
    Ok(Limits { queue_max, batch_max, delay: Duration::from_millis(u64::try_from(delay).unwrap_or(u64::MAX)) })
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
        if spans == 0 {
            return;
        }
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

//! Spans: what a request, a batch and a statement were, how long each took, and which belongs to which.
//!
//! Names, attributes and statuses follow OpenTelemetry's semantic conventions, version 1.45. `docs/tracing.md` lists them.
//!
//! A span is made by the OpenTelemetry SDK at once, and not out of a span of `tracing`: a hot product has tens of thousands
//! of requests a second, and each has a span. What belongs to a request carries only its [`SpanIds`], which are copied.
//! Without an exporter nothing is recorded. Then the ids are those of the caller's span, for the log.

mod address;
pub mod database;
pub mod http;
pub mod rpc;
mod scope;
mod work;

use std::{borrow::Cow, sync::OnceLock};

use ::http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, Value,
    propagation::TextMapPropagator,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer,
    },
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span as SdkSpan},
};

pub use address::Ends;
pub use scope::{current, in_operation, in_span, within};
pub use work::{LINKS_MAX, batch, job};

/// Names the version of the conventions that the spans follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// Limits the bytes of a text that a caller chose, such as a path.
const CALLERS_TEXT_MAX: usize = 256;
/// Makes room for the attributes that a span usually has.
const ATTRIBUTES: usize = 10;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Records spans with this tracer from now on. The first call in a process counts.
pub fn record_with(tracer: SdkTracer) {
    let _first_counts = TRACER.set(tracer);
}

/// Tells whether spans are recorded, as far as the sampler says so.
pub fn are_recorded() -> bool {
    TRACER.get().is_some()
}

/// Names a span: its trace, the span itself, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanIds {
    trace_id: TraceId,
    span_id: SpanId,
    flags: TraceFlags,
}

impl SpanIds {
    fn of(context: &SpanContext) -> Option<Self> {
        let ids = Self { trace_id: context.trace_id(), span_id: context.span_id(), flags: context.trace_flags() };
        context.is_valid().then_some(ids)
    }

    /// Returns the trace, whose `Display` is 32 hexadecimal digits.
    pub fn trace_id(self) -> TraceId {
        self.trace_id
    }

    /// Returns the span, whose `Display` is 16 hexadecimal digits.
    pub fn span_id(self) -> SpanId {
        self.span_id
    }

    /// Tells whether the span is sent to a collector.
    pub fn is_sampled(self) -> bool {
        self.flags.is_sampled()
    }

    fn context(self) -> SpanContext {
        SpanContext::new(self.trace_id, self.span_id, self.flags, false, TraceState::NONE)
    }

    fn as_parent(self) -> Context {
        Context::new().with_remote_span_context(self.context())
    }
}

/// Holds a span that is under way. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span {
    ids: Option<SpanIds>,
    /// It is boxed, because most futures that hold a span hold one that records nothing.
    recording: Option<Box<SdkSpan>>,
}

impl Span {
    /// Starts a span. Without an exporter, it is the parent's span, unrecorded.
    fn start(name: impl Into<Cow<'static, str>>, kind: SpanKind, parent: &Context, links: Vec<Link>) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self { ids: SpanIds::of(parent.span().span_context()), recording: None };
        };
        let mut builder = SpanBuilder::from_name(name).with_kind(kind).with_links(links);
        builder.attributes = Some(Vec::with_capacity(ATTRIBUTES));
        let span = tracer.build_with_context(builder, parent);
        Self { ids: SpanIds::of(span.span_context()), recording: span.is_recording().then(|| Box::new(span)) }
    }

    /// Returns the ids, where there is a trace.
    pub fn ids(&self) -> Option<SpanIds> {
        self.ids
    }

    fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.recording {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Says that what the span is about has failed. `error_type` is one of a few fixed words.
    pub fn fail(&mut self, error_type: &'static str) {
        self.set("error.type", error_type);
        if let Some(span) = &mut self.recording {
            span.set_status(Status::error(""));
        }
    }
}

/// Returns the caller's span out of the headers of a request.
fn parent_of(headers: &HeaderMap) -> Context {
    if headers.contains_key("traceparent") {
        TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
    } else {
        Context::new()
    }
}

/// Puts a span's ids into the headers of a call to another program. Other trace headers stay.
fn inject(ids: SpanIds, headers: &mut HeaderMap) {
    let tracestate = headers.get("tracestate").cloned();
    TraceContextPropagator::new().inject_context(&ids.as_parent(), &mut HeaderInjector(headers));
    // The state belongs to the trace, not to a span, and nobody changes it here.
    match tracestate {
        Some(state) => headers.insert("tracestate", state),
        None => headers.remove("tracestate"),
    };
}

/// Cuts a text that a caller chose.
fn cut(text: &str) -> String {
    let ends = (0..=text.len().min(CALLERS_TEXT_MAX)).rev();
    let end = ends.into_iter().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

//! Spans of work that several requests share, or that no request asked for.

use opentelemetry::{
    Context,
    trace::{Link, SpanKind},
};

use super::{Span, SpanIds};

/// Limits the links of a batch's span.
pub const LINKS_MAX: usize = 128;

/// Starts the span of a lane's batch, which is recorded where at least one of its requests is.
///
/// A batch has many requests, so none of them is its parent. It is linked to those that are recorded.
pub fn batch(
    use_case: &'static str,
    commands: usize,
    product_id: Option<i64>,
    requests: impl Iterator<Item = Option<SpanIds>>,
) -> Span {
    let recorded = requests.flatten().filter(|ids| ids.is_sampled());
    let links: Vec<Link> = recorded.take(LINKS_MAX).map(|ids| Link::with_context(ids.context())).collect();
    if links.is_empty() {
        return Span::default();
    }
    let mut span = Span::start(use_case, SpanKind::Internal, &Context::new(), links);
    if span.is_recording() {
        span.set("flashsale.lane", use_case);
        span.set("flashsale.lane.batch.size", i64::try_from(commands).unwrap_or(i64::MAX));
        if let Some(product_id) = product_id {
            span.set("flashsale.product.id", product_id);
        }
    }
    span
}

/// Starts the span of work that no request asked for, such as a sweep.
pub fn job(name: &'static str) -> Span {
    Span::start(name, SpanKind::Internal, &Context::new(), Vec::new())
}

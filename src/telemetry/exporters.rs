//! Lines that may come very often, and are written seldom.

use std::time::Duration;

use tracing::{Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

use crate::seldom::Seldom;

/// Begins the names of the crates that make and send spans and metrics.
const EXPORTERS: &str = "opentelemetry";
/// Says how often a line of these crates is written at the most. An exporter complains about every batch.
const EVERY: Duration = Duration::from_secs(10);

/// Lets through all lines but those of the exporters, of which it lets few through.
#[derive(Debug)]
pub(super) struct FewOfExporters(Seldom);

impl FewOfExporters {
    pub(super) const fn new() -> Self {
        Self(Seldom::every(EVERY))
    }
}

impl<S: Subscriber> Filter<S> for FewOfExporters {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        !metadata.target().starts_with(EXPORTERS) || self.0.is_time()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target().starts_with(EXPORTERS) { Interest::sometimes() } else { Interest::always() }
    }
}

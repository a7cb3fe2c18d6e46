//! Lines that may come very often, and are written seldom.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

/// Begins the names of the crates that make and send spans and metrics.
const EXPORTERS: &str = "opentelemetry";
/// Says how often a line of these crates is written at the most. An exporter complains about every batch.
const EVERY: Duration = Duration::from_secs(10);

/// Says when it is time again.
#[derive(Debug)]
pub(super) struct Seldom {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Is ready once in each `every`, the first time at once.
    pub(super) const fn every(every: Duration) -> Self {
        Self { every, last: Mutex::new(None) }
    }

    /// Tells whether it is time. If so, the next time begins.
    pub(super) fn is_time(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| last.elapsed() >= self.every);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_at_once_and_then_not_for_a_while() {
        let seldom = Seldom::every(Duration::from_secs(3600));
        assert!(seldom.is_time());
        assert!(!seldom.is_time());
        let often = Seldom::every(Duration::ZERO);
        assert!(often.is_time() && often.is_time());
    }
}

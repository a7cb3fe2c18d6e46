//! Instruments with their labels, made once.

use std::sync::OnceLock;

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram},
};

/// Counts by one label. What is known of its values begins at 0.
pub(super) struct CountersBy {
    counter: Counter<u64>,
    key: &'static str,
    known: Vec<(&'static str, BoundCounter<u64>)>,
}

impl CountersBy {
    pub(super) fn new(counter: Counter<u64>, key: &'static str, values: &[&'static str]) -> Self {
        Self::named(counter, key, values, |value| value.into())
    }

    /// Makes counters whose label isn't the value that is counted by, but `name` of it.
    pub(super) fn named(
        counter: Counter<u64>,
        key: &'static str,
        values: &[&'static str],
        name: impl Fn(&'static str) -> StringValue,
    ) -> Self {
        let bound = |value: &&'static str| {
            let bound = counter.bind(&[KeyValue::new(key, name(value))]);
            bound.add(0);
            (*value, bound)
        };
        let known = values.iter().map(bound).collect();
        Self { counter, key, known }
    }

    pub(super) fn add(&self, value: &'static str, count: u64) {
        match self.known.iter().find(|(known, _)| *known == value) {
            Some((_, bound)) => bound.add(count),
            None => self.counter.add(count, &[KeyValue::new(self.key, value)]),
        }
    }
}

/// Holds places for the handles of one histogram. A handle is made when it is first used: before its first value a
/// histogram shows nothing.
pub(super) struct Histograms {
    histogram: Histogram<f64>,
    handles: Box<[OnceLock<BoundHistogram<f64>>]>,
}

impl Histograms {
    pub(super) fn new(histogram: Histogram<f64>, places: usize) -> Self {
        Self { histogram, handles: (0..places).map(|_| OnceLock::new()).collect() }
    }

    /// Records a value at a place. `labels` are asked for when the place is first used.
    pub(super) fn record(&self, place: usize, value: f64, labels: impl FnOnce() -> Vec<KeyValue>) {
        match self.handles.get(place) {
            Some(handle) => handle.get_or_init(|| self.histogram.bind(&labels())).record(value),
            None => self.histogram.record(value, &labels()),
        }
    }
}

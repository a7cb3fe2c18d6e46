//! Lanes: how large batches are, how long commands wait for theirs, and how many wait now.

use std::{
    fmt,
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram, ObservableGauge},
};

use super::pipeline::meter;

/// Bounds the buckets of batches: powers of two up to the largest batch, because a batch is as large as the load.
const SIZE_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Bounds the buckets of waits, in seconds. A batch takes 1 to 20 ms, and a caller gives up after seconds.
const WAIT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

static SIZES: LazyLock<Histogram<u64>> = LazyLock::new(|| {
    meter()
        .u64_histogram("flashsale.lane.batch.size")
        .with_description("Commands that a lane ran together")
        .with_unit("{command}")
        .with_boundaries(SIZE_BUCKETS.to_vec())
        .build()
});
static WAITS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram("flashsale.lane.wait")
        .with_description("How long commands waited in their lane for their batch to begin")
        .with_unit("s")
        .with_boundaries(WAIT_BUCKETS.to_vec())
        .build()
});

/// Returns the length of a use case's queues, or `None` once its lanes are gone.
type QueueLength = Box<dyn Fn() -> Option<usize> + Send + Sync>;

static QUEUES: Mutex<Vec<(&'static str, QueueLength)>> = Mutex::new(Vec::new());
static QUEUE_LENGTHS: LazyLock<ObservableGauge<u64>> = LazyLock::new(|| {
    meter()
        .u64_observable_gauge("flashsale.lane.queue.length")
        .with_description("Commands that wait in lanes")
        .with_unit("{command}")
        .with_callback(|observer| {
            let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
            queues.retain(|(lane, length)| {
                let Some(length) = length() else { return false };
                observer.observe(u64::try_from(length).unwrap_or(u64::MAX), &[KeyValue::new("lane", *lane)]);
                true
            });
        })
        .build()
});

/// Measures the lanes of one use case.
pub struct LaneMetrics {
    lane: &'static str,
    size: OnceLock<BoundHistogram<u64>>,
    wait: OnceLock<BoundHistogram<f64>>,
}

impl fmt::Debug for LaneMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneMetrics").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl LaneMetrics {
    /// Makes the measures of the lanes of a use case.
    pub fn new(lane: &'static str) -> Self {
        Self { lane, size: OnceLock::new(), wait: OnceLock::new() }
    }

    /// Returns the name of the use case.
    pub fn lane(&self) -> &'static str {
        self.lane
    }

    /// Records a batch that begins, and how long each of its commands has waited.
    pub fn record_batch(&self, commands: usize, waits: impl Iterator<Item = Duration>) {
        let label = || [KeyValue::new("lane", self.lane)];
        self.size.get_or_init(|| SIZES.bind(&label())).record(u64::try_from(commands).unwrap_or(u64::MAX));
        let wait = self.wait.get_or_init(|| WAITS.bind(&label()));
        waits.for_each(|waited| wait.record(waited.as_secs_f64()));
    }
}

/// Shows the length of a use case's queues, which `length` returns until the lanes are gone.
pub fn watch_queue(lane: &'static str, length: impl Fn() -> Option<usize> + Send + Sync + 'static) {
    LazyLock::force(&QUEUE_LENGTHS);
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner).push((lane, Box::new(length)));
}

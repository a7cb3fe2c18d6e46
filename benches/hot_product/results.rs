//! What a run measured, as it goes into the JSON file. Plain data.

use serde::Serialize;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Design {
    /// The service.
    Flashsale,
    /// The service, for a product with a limit for each buyer.
    FlashsaleLimit,
    /// Two of its servers on one database.
    FlashsaleTwo,
    /// An RPC of its server that does nothing.
    Ceiling,
    /// One transaction per request.
    Plain,
    /// A Lua script on Redis that syncs its log every second.
    RedisEverysec,
    /// The same that syncs its log before each answer.
    RedisAlways,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

/// Processor time over the measured time: 1 is one core, busy all the time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) client: f64,
    pub(crate) server: f64,
    /// The database, or Redis.
    pub(crate) database: f64,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    /// Measured time.
    pub(crate) seconds: f64,
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) granted_per_second: f64,
    pub(crate) refused_per_second: f64,
    pub(crate) latency: Latency,
    pub(crate) slowest_over_median: f64,
    pub(crate) cpu: Cpu,
    /// The server's largest resident size so far.
    pub(crate) server_peak_bytes: u64,
    /// Statements of the database per granted hold or checkout; absent where it isn't used.
    pub(crate) commits_per_grant: Option<f64>,
    pub(crate) prepares_per_grant: Option<f64>,
}

impl Round {
    /// Answers a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.granted_per_second + self.refused_per_second
    }
}

/// The rounds of one design in one scenario.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) scenario: &'static str,
    pub(crate) design: Design,
    /// Callers at the same moment; calls a second for an open loop.
    pub(crate) clients: usize,
    pub(crate) rounds: Vec<Round>,
}

//! Holds what a run measured, as it goes into the JSON file and the report.

use std::collections::BTreeMap;

use serde::Serialize;

/// Names the designs that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Design {
    /// The service.
    #[value(skip)]
    Flashsale,
    /// Another build of the service.
    #[value(skip)]
    Other,
    /// An RPC of the service's server that does nothing.
    Ceiling,
    /// One transaction per request.
    Plain,
    /// A Lua script on Redis that syncs its log every second.
    RedisEverysec,
    /// A Lua script on Redis that syncs its log before each answer.
    RedisAlways,
}

impl Design {
    /// Returns the report's name of the design.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Flashsale => "flashsale",
            Self::Other => "another build",
            Self::Ceiling => "empty RPC",
            Self::Plain => "one transaction per request",
            Self::RedisEverysec => "Redis, everysec",
            Self::RedisAlways => "Redis, always",
        }
    }
}

/// Holds latencies in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

/// Holds processor time over the measured time: 1 is one core that is busy all the time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) client: f64,
    pub(crate) server: f64,
    /// The database, or Redis.
    pub(crate) database: f64,
}

/// Holds one measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    /// The measured time.
    pub(crate) seconds: f64,
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) granted_per_second: f64,
    pub(crate) refused_per_second: f64,
    pub(crate) latency: Latency,
    /// The mean latency of the slowest caller over that of the median caller.
    pub(crate) slowest_over_median: f64,
    pub(crate) cpu: Cpu,
    /// The server's largest resident size during the round.
    pub(crate) server_peak_bytes: u64,
    /// Statements of the database per granted call; absent for a design without a database.
    pub(crate) commits_per_grant: Option<f64>,
    pub(crate) prepares_per_grant: Option<f64>,
}

impl Round {
    /// Returns the answers a second, granted and refused.
    pub(crate) fn per_second(&self) -> f64 {
        self.granted_per_second + self.refused_per_second
    }
}

/// Holds the rounds of one design in one scenario.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    /// The scenario's name.
    pub(crate) scenario: String,
    pub(crate) design: Design,
    /// Callers at the same moment, or calls a second in the scenario `open_loop`.
    pub(crate) clients: usize,
    pub(crate) rounds: Vec<Round>,
}

/// Holds a tenth of a second of a sale.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Moment {
    /// Its end in seconds since the sale began.
    pub(crate) second: f64,
    pub(crate) granted_per_second: f64,
    pub(crate) refused_per_second: f64,
    /// The p99 of its answers.
    pub(crate) p99_us: u64,
}

/// Holds a target, and what was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// What is compared, such as `256 clients, throughput over Redis everysec`.
    pub(crate) what: String,
    /// Such as `≥ 0.5`.
    pub(crate) target: String,
    /// The median of the rounds.
    pub(crate) measured: f64,
    /// The lowest and the highest round.
    pub(crate) spread: (f64, f64),
    pub(crate) met: bool,
}

/// Holds what this build does over another build.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// Such as `hot_product, 256 clients`.
    pub(crate) what: String,
    /// Answers a second over the other's: the median of the rounds.
    pub(crate) measured: f64,
    /// The first and the third quartile of the rounds.
    pub(crate) quartiles: (f64, f64),
    pub(crate) rounds: usize,
}

/// Holds a number that is no cell, such as the seconds that a sweep took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// Holds a whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    /// In RFC 3339, UTC.
    pub(crate) started_at: String,
    pub(crate) seconds: f64,
    pub(crate) quick: bool,
    pub(crate) machine: String,
    /// The database's name and version, as it tells them.
    pub(crate) database: String,
    pub(crate) database_settings: BTreeMap<String, String>,
    /// The version that Redis tells; absent where it isn't installed.
    pub(crate) redis: Option<String>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) timeline: Vec<Moment>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) checks: Vec<Check>,
    /// Empty where no other build was given.
    pub(crate) comparisons: Vec<Comparison>,
    /// What did not balance. Any fault makes the run worthless.
    pub(crate) faults: Vec<String>,
}

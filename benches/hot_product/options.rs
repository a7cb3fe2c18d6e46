//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::load::Period;

/// Measures how fast a hot product sells, beside an empty RPC, one transaction per request, and Redis.
#[derive(Debug, Clone, Parser)]
#[command(name = "hot_product")]
pub(crate) struct Options {
    /// About two minutes: fewer callers, one short round each, and floors that a collapse falls through.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these scenarios, by name; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Rounds of each measurement; the designs take turns in each. Default: 3, quick 1.
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Measured seconds of a round, after half a second that isn't. Default: 3, quick 1.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Callers of the hot product; may be given several times. Default: 1, 16, 64, 256, 1024, 4096, quick 1, 64, 256.
    #[arg(long, value_name = "CALLERS", value_parser = clap::value_parser!(u16).range(1..=8192))]
    clients: Vec<u16>,
    /// Where the JSON file and the report go.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../hot_product"))]
    pub(crate) output: PathBuf,
    /// What cargo bench adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How often each measurement is made.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long one takes.
    pub(crate) fn period(&self) -> Period {
        let seconds = self.seconds.unwrap_or(if self.quick { 1 } else { 3 });
        Period { warm_up: Duration::from_millis(500), measured: Duration::from_secs(seconds) }
    }

    /// Whether a scenario is to be run.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == scenario)
    }

    /// Callers of the hot product.
    pub(crate) fn clients(&self) -> Vec<usize> {
        let asked_for = self.clients.iter().copied().map(usize::from);
        match (self.clients.is_empty(), self.quick) {
            (false, _) => asked_for.collect(),
            (true, true) => vec![1, 64, 256],
            (true, false) => vec![1, 16, 64, 256, 1024, 4096],
        }
    }
}

//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::{load::Period, results::Design};

/// Before a round's measured time. Connections are made and a server has seen its product long before.
const WARM_UP_MAX: Duration = Duration::from_millis(500);

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
    /// Rounds of each measurement; the designs take turns in each. Default: 5, quick 1.
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Measured seconds of a round, 0.1 to 600, after half as many that aren't, half a second at most. Default: 1.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// Callers of the hot product; may be given several times. Default: 1, 16, 64, 256, 1024, 4096, quick 1, 64, 256.
    #[arg(long, value_name = "CALLERS", value_parser = clap::value_parser!(u16).range(1..=8192))]
    clients: Vec<u16>,
    /// The server program of another build, and the gateway that lies beside it if there is one, which take turns with
    /// this one's; not in two_servers, sweeping_while_selling, timeline and restart. What a change is worth shows in
    /// many short rounds, such as `--rounds 20 --seconds 0.5`.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) against: Option<PathBuf>,
    /// Of what is measured beside the service's builds, only these; may be given several times.
    #[arg(long, value_name = "DESIGN", value_enum)]
    beside: Vec<Design>,
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
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// How long one takes.
    pub(crate) fn period(&self) -> Period {
        let measured = Duration::from_secs_f64(self.seconds.unwrap_or(1.0));
        Period { warm_up: (measured / 2).min(WARM_UP_MAX), measured }
    }

    /// The gateway that belongs to the server of another build.
    pub(crate) fn other_gateway(&self) -> Option<PathBuf> {
        let beside = self.against.as_ref()?.with_file_name("gateway");
        beside.is_file().then_some(beside)
    }

    /// Whether a scenario is to be run.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == scenario)
    }

    /// Whether a design is to be measured.
    pub(crate) fn compares(&self, design: Design) -> bool {
        matches!(design, Design::Flashsale | Design::Other) || self.beside.is_empty() || self.beside.contains(&design)
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

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a round takes 0.1 to 600 seconds".to_owned()),
    }
}

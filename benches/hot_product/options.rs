//! Reads the command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::{load::Period, results::Design, support::process::Program};

/// The longest warm-up of a round: connections and the server's caches are warm before it.
const WARM_UP_MAX: Duration = Duration::from_millis(500);

/// Measures how fast a hot product sells, beside an empty RPC, one transaction per request, and Redis.
#[derive(Debug, Clone, Parser)]
#[command(name = "hot_product")]
pub(crate) struct Options {
    /// Runs about two minutes, with fewer callers, one short round each, and floors that only a collapse misses.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Runs only these scenarios, by name; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Rounds of each measurement, in each of which the designs take turns. Default: 5, quick 1.
    #[arg(long, value_name = "ROUNDS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Measured seconds of a round, 0.1 to 600, after a warm-up of half of that, at most 0.5 s. Default: 1.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// Callers of the hot product; may be given several times. Default: 1, 16, 64, 256, 1024, 4096, quick 1, 64, 256.
    #[arg(long, value_name = "CALLERS", value_parser = clap::value_parser!(u16).range(1..=8192))]
    clients: Vec<u16>,
    /// Another build's server program, which takes turns with this build's, and the gateway beside it if there is one.
    ///
    /// The scenarios two_servers, sweeping_while_selling, timeline and restart leave it out. Many short rounds show
    /// what a change is worth, such as `--rounds 20 --seconds 0.5`.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) against: Option<PathBuf>,
    /// A variable of the server that takes turns with this build's, like `KEY=VALUE`; may be given several times.
    ///
    /// Without `--against`, that server is this build's, too. So a setting is compared with its default.
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub(crate) against_env: Vec<(String, String)>,
    /// The server that takes turns sends its spans to a collector, which takes them and does nothing with them.
    #[arg(long)]
    pub(crate) against_collector: bool,
    /// The server that takes turns is called by mutual TLS, and knows its callers by a file of principals.
    ///
    /// Only the scenario hot_product is measured then.
    #[arg(long)]
    pub(crate) against_tls: bool,
    /// Measures only these designs beside the service's builds; may be given several times.
    #[arg(long, value_name = "DESIGN", value_enum)]
    beside: Vec<Design>,
    /// The folder for the JSON file and the report.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../hot_product"))]
    pub(crate) output: PathBuf,
    /// The flag that cargo bench adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Returns how often each measurement is made.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// Returns how long a measurement takes.
    pub(crate) fn period(&self) -> Period {
        let measured = Duration::from_secs_f64(self.seconds.unwrap_or(1.0));
        Period { warm_up: (measured / 2).min(WARM_UP_MAX), measured }
    }

    /// Returns the server program that takes turns with this build's.
    pub(crate) fn other_server(&self) -> Option<PathBuf> {
        let same = !self.against_env.is_empty() || self.against_collector || self.against_tls;
        self.against.clone().or_else(|| same.then(|| Program::Server.path()))
    }

    /// Returns the gateway that belongs to the server of another build.
    pub(crate) fn other_gateway(&self) -> Option<PathBuf> {
        let beside = self.against.as_ref()?.with_file_name("gateway");
        beside.is_file().then_some(beside)
    }

    /// Tells whether a scenario is to be run.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        let is_asked_for = self.only.is_empty() || self.only.iter().any(|only| only == scenario);
        is_asked_for && (!self.against_tls || scenario == "hot_product")
    }

    /// Tells whether a design is to be measured.
    pub(crate) fn compares(&self, design: Design) -> bool {
        matches!(design, Design::Flashsale | Design::Other) || self.beside.is_empty() || self.beside.contains(&design)
    }

    /// Returns the numbers of callers of the hot product.
    pub(crate) fn clients(&self) -> Vec<usize> {
        let asked_for = self.clients.iter().copied().map(usize::from);
        match (self.clients.is_empty(), self.quick) {
            (false, _) => asked_for.collect(),
            (true, true) => vec![1, 64, 256],
            (true, false) => vec![1, 16, 64, 256, 1024, 4096],
        }
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let variable = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    variable.filter(|(key, _)| !key.is_empty()).ok_or_else(|| "a variable is written KEY=VALUE".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a round takes 0.1 to 600 seconds".to_owned()),
    }
}

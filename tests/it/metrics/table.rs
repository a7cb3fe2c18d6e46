//! Reads the table of all metrics.

use std::collections::{BTreeMap, BTreeSet};

const PAPER: &str = include_str!("../../../docs/metrics.md");
const HEAD: &str = "| name | type | labels | of | what |";

/// Describes a metric as its row does.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: String,
    /// counter, gauge or histogram.
    pub(super) kind: String,
    /// The labels, and of each the values that it has. None: there are many.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
    /// The programs whose pages have it.
    pub(super) programs: Vec<String>,
}

impl Metric {
    /// Whether the pages of a program have it.
    pub(super) fn is_of(&self, program: &str) -> bool {
        self.programs.iter().any(|one| one == program)
    }
}

/// Reads the rows of the table.
pub(super) fn metrics() -> Vec<Metric> {
    let rows = PAPER.split_once(HEAD).unwrap().1.lines().skip(2).take_while(|line| line.starts_with('|'));
    let metrics: Vec<Metric> = rows.map(metric).collect();
    assert!(metrics.len() > 40, "{metrics:?}");
    metrics
}

fn metric(row: &str) -> Metric {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [name, kind, labels, programs, _what] = cells.as_slice() else { panic!("five cells: {row}") };
    let labels = labels.split(';').map(str::trim).filter(|label| *label != "–").map(|label| {
        let (name, values) = label.split_once(':').unwrap_or((label, ""));
        let values = values.split(',').map(bare).filter(|value| !value.is_empty());
        (bare(name), values.collect())
    });
    Metric {
        name: bare(name),
        kind: (*kind).to_owned(),
        labels: labels.collect(),
        programs: programs.split(',').map(bare).collect(),
    }
}

fn bare(text: &str) -> String {
    text.trim().trim_matches('`').to_owned()
}

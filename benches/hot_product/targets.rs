//! Compares what was measured with the targets, and in quick runs with the floors.
//!
//! Each target is a ratio of two measurements of one run. The ratio is taken for each round, since the designs take
//! turns in it, and the median counts.

use crate::results::{Cell, Check, Comparison, Design, Round, Run};

/// Names one side of a ratio: the scenario, the design, the callers.
#[derive(Clone, Copy)]
struct Side<'s>(&'s str, Design, usize);

/// Compares a run with the targets, without those whose measurement wasn't made.
pub(crate) fn targets(run: &Run) -> Vec<Check> {
    let mut checks = Checks { run, list: Vec::new() };
    let hot = |design, clients| Side("hot_product", design, clients);
    for clients in [256, 1024] {
        let ours = hot(Design::Flashsale, clients);
        let what = |other: &str| format!("hot product, {clients} clients: holds over {other}");
        checks.at_least(what("Redis everysec"), ours, hot(Design::RedisEverysec, clients), granted, 1.0);
        checks.at_least(what("the empty RPC"), ours, hot(Design::Ceiling, clients), granted, 0.5);
        checks.at_least(what("one transaction per request"), ours, hot(Design::Plain, clients), granted, 25.0);
        let what = format!("hot product, {clients} clients: p99 over Redis everysec's");
        checks.at_most(what, ours, hot(Design::RedisEverysec, clients), p99, 1.5);
    }
    let what = "hot product, 64 clients: holds over Redis everysec".to_owned();
    checks.at_least(what, hot(Design::Flashsale, 64), hot(Design::RedisEverysec, 64), granted, 0.8);
    let what = "hot product, 1 client: p50 over one transaction per request".to_owned();
    checks.at_most(what, hot(Design::Flashsale, 1), hot(Design::Plain, 1), p50, 1.0);
    let peak = [64, 256, 1024].map(|clients| (clients, checks.median(hot(Design::Flashsale, clients), granted)));
    if let Some((best, _)) = peak.into_iter().max_by(|one, other| one.1.total_cmp(&other.1)) {
        let what = "hot product, 4,096 clients: holds over the peak".to_owned();
        checks.at_least(what, hot(Design::Flashsale, 4096), hot(Design::Flashsale, best), granted, 0.9);
    }
    let what = "hot product, 4,096 clients: slowest client's mean latency over the median client's".to_owned();
    checks.single_at_most(what, hot(Design::Flashsale, 4096), |round| round.slowest_over_median, 3.0);
    let what = "hot product, 1,024 clients: the server's peak memory in MiB".to_owned();
    checks.single_at_most(what, hot(Design::Flashsale, 1024), mebibytes, 64.0);
    for (what, scenario, design, other, value, target) in [
        ("sold-out refusals over the empty RPC", "sold_out", Design::Ceiling, "sold_out", answered as Value, 0.8),
        ("fresh stock reads over the empty RPC", "fresh_reads", Design::Ceiling, "fresh_reads", granted, 0.6),
        ("whole checkouts over the empty RPC", "checkouts", Design::Ceiling, "checkouts", granted, 0.12),
        ("whole checkouts over one transaction per request", "checkouts", Design::Plain, "checkouts", granted, 15.0),
        ("16 hot products over one", "sixteen_products", Design::Flashsale, "sixteen_products_one", granted, 0.9),
        ("two servers over one", "two_servers", Design::Flashsale, "two_servers_one", granted, 0.9),
        (
            "selling while sweeping over selling alone",
            "sweeping_while_selling",
            Design::Flashsale,
            "sweeping_while_selling_none",
            granted,
            0.8,
        ),
        ("holds with a buyer limit over without", "buyer_limit", Design::Flashsale, "buyer_limit_none", granted, 0.7),
        (
            "holds beside a buyer with 20,000 that count over beside one with none",
            "box_office_live",
            Design::Flashsale,
            "box_office_none",
            granted,
            0.5,
        ),
        (
            "holds beside a buyer with 300,000 that no longer count over beside one with none",
            "box_office_dead",
            Design::Flashsale,
            "box_office_none",
            granted,
            0.9,
        ),
    ] {
        let clients = if run.quick { 128 } else { 256 };
        let (ours, other) = (Side(scenario, Design::Flashsale, clients), Side(other, design, clients));
        checks.at_least(what.to_owned(), ours, other, value, target);
    }
    let sweep = run.figures.iter().find(|figure| figure.what == "sweep over one transaction per hold");
    if let Some(sweep) = sweep {
        checks
            .push("sweep over one transaction per expired hold".to_owned(), "≥ 20", vec![sweep.value], |v| v >= 20.0);
    }
    checks.list
}

/// Compares this build with another one in answers a second, round by round.
pub(crate) fn comparisons(run: &Run) -> Vec<Comparison> {
    let checks = Checks { run, list: Vec::new() };
    let others = run.cells.iter().filter(|cell| cell.design == Design::Other);
    let comparison = |cell: &Cell| {
        let side = |design| Side(&cell.scenario, design, cell.clients);
        let mut ratios = checks.ratios(side(Design::Flashsale), side(Design::Other), answered);
        ratios.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| ratios.get((ratios.len() * quarter / 4).min(ratios.len().saturating_sub(1)));
        let at = |quarter| at(quarter).copied().unwrap_or(0.0);
        Comparison {
            what: format!("{}, {} clients", cell.scenario, cell.clients),
            measured: at(2),
            quartiles: (at(1), at(3)),
            rounds: ratios.len(),
        }
    };
    others.map(comparison).collect()
}

/// Compares a quick run with floors far below the targets, which only a collapse misses on any machine.
pub(crate) fn floors(run: &Run) -> Vec<Check> {
    let mut checks = Checks { run, list: Vec::new() };
    let hot = |design| Side("hot_product", design, 256);
    let ours = hot(Design::Flashsale);
    checks.at_least("floor: holds over the empty RPC".to_owned(), ours, hot(Design::Ceiling), granted, 0.15);
    checks.at_least("floor: holds over one transaction per request".to_owned(), ours, hot(Design::Plain), granted, 6.0);
    for (what, scenario, design, value, floor) in [
        ("floor: sold-out refusals over the empty RPC", "sold_out", Design::Ceiling, answered as Value, 0.2),
        ("floor: fresh stock reads over the empty RPC", "fresh_reads", Design::Ceiling, granted, 0.2),
        ("floor: whole checkouts over one transaction per request", "checkouts", Design::Plain, granted, 4.0),
    ] {
        let (ours, other) = (Side(scenario, Design::Flashsale, 128), Side(scenario, design, 128));
        checks.at_least(what.to_owned(), ours, other, value, floor);
    }
    checks.list
}

type Value = fn(&Round) -> f64;

fn granted(round: &Round) -> f64 {
    round.granted_per_second
}

fn answered(round: &Round) -> f64 {
    round.per_second()
}

fn p50(round: &Round) -> f64 {
    crate::bench::millis(round.latency.p50_us)
}

fn p99(round: &Round) -> f64 {
    crate::bench::millis(round.latency.p99_us)
}

#[expect(clippy::cast_precision_loss, reason = "a size")]
fn mebibytes(round: &Round) -> f64 {
    round.server_peak_bytes as f64 / 1_048_576.0
}

/// Returns the middle of some values, or 0 for none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

struct Checks<'r> {
    run: &'r Run,
    list: Vec<Check>,
}

impl Checks<'_> {
    fn rounds(&self, Side(scenario, design, clients): Side<'_>) -> &[Round] {
        let same = |cell: &&Cell| cell.scenario == scenario && cell.design == design && cell.clients == clients;
        self.run.cells.iter().find(same).map_or(&[], |cell| &cell.rounds)
    }

    fn median(&self, side: Side<'_>, value: Value) -> f64 {
        median(self.rounds(side).iter().map(value).collect())
    }

    fn ratios(&self, ours: Side<'_>, other: Side<'_>, value: Value) -> Vec<f64> {
        let pairs = self.rounds(ours).iter().zip(self.rounds(other));
        pairs.map(|(ours, other)| value(ours) / value(other)).collect()
    }

    fn at_least(&mut self, what: String, ours: Side<'_>, other: Side<'_>, value: Value, target: f64) {
        self.push(what, &format!("≥ {target}"), self.ratios(ours, other, value), |measured| measured >= target);
    }

    fn at_most(&mut self, what: String, ours: Side<'_>, other: Side<'_>, value: Value, target: f64) {
        self.push(what, &format!("≤ {target}"), self.ratios(ours, other, value), |measured| measured <= target);
    }

    fn single_at_most(&mut self, what: String, side: Side<'_>, value: Value, target: f64) {
        let values = self.rounds(side).iter().map(value).collect();
        self.push(what, &format!("≤ {target}"), values, |measured| measured <= target);
    }

    fn push(&mut self, what: String, target: &str, values: Vec<f64>, met: impl Fn(f64) -> bool) {
        if values.is_empty() {
            return;
        }
        let spread = values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        let measured = median(values);
        self.list.push(Check { what, target: target.to_owned(), measured, spread, met: met(measured) });
    }
}

//! Writes the tables of a run as Markdown that can also be read as it is, on a terminal and in the log of a CI run.

use crate::{
    report::summary::{
        Spread, comparison, count, engine, in_order, load, mebibytes, median, milliseconds, number, per_grant,
        with_range,
    },
    results::{Cell, Check, Figure, Round, Run},
};

/// The columns of the cells.
const COLUMNS: [&str; 14] = [
    "scenario",
    "clients",
    "design",
    "granted/s",
    "refused/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU client",
    "server",
    "database",
    "peak MiB",
    "commits/grant",
    "prepares/grant",
];

/// Returns the report's tables.
///
/// A cell shows the medians over its rounds, for throughput with the lowest and the highest. CPU is in cores.
pub(crate) fn tables(run: &Run) -> String {
    let cells = in_order(run);
    let rows: Vec<Vec<String>> = cells.iter().map(|cell| row(cell)).collect();
    let failed: Vec<String> = cells.iter().filter_map(|cell| failures(cell)).collect();
    let parts = [
        headline(run),
        align(&COLUMNS, &rows, &[0, 2]),
        list("Failed calls", &failed),
        targets(run),
        comparisons(run),
        list("Figures", &figures(run)),
        faults(run),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn headline(run: &Run) -> String {
    let quick = if run.quick { "quick run, which shows a collapse and not the speed" } else { "full run" };
    let redis = run.redis.as_deref().unwrap_or("not installed");
    let settings: Vec<String> = run.database_settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "# flashsale beside Redis and plain transactions: {}\n\n{quick}; medians of the rounds (lowest–highest)\n\n\
         - begun: {}, {} s\n- machine: {}\n- database: {}, {}\n- Redis: {redis}\n",
        engine(run),
        run.started_at,
        number(run.seconds),
        run.machine,
        run.database,
        settings.join(", "),
    )
}

fn row(cell: &Cell) -> Vec<String> {
    let of = |number: fn(&Round) -> f64| Spread::of_rounds(cell, number);
    vec![
        cell.scenario.clone(),
        load(cell),
        cell.design.label().to_owned(),
        with_range(of(|round| round.granted_per_second)),
        with_range(of(|round| round.refused_per_second)),
        median(of(|round| milliseconds(round.latency.p50_us))),
        median(of(|round| milliseconds(round.latency.p99_us))),
        median(of(|round| milliseconds(round.latency.p999_us))),
        median(of(|round| round.cpu.client)),
        median(of(|round| round.cpu.server)),
        median(of(|round| round.cpu.database)),
        median(of(|round| mebibytes(round.server_peak_bytes))),
        median(per_grant(cell, |round| round.commits_per_grant)),
        median(per_grant(cell, |round| round.prepares_per_grant)),
    ]
}

/// Names a cell with failed calls, since it is fast for the wrong reason.
fn failures(cell: &Cell) -> Option<String> {
    let failed: u64 = cell.rounds.iter().map(|round| round.failed).sum();
    (failed > 0).then(|| format!("{}, {}, {}: {}", cell.scenario, load(cell), cell.design.label(), count(failed)))
}

fn targets(run: &Run) -> String {
    let row = |check: &Check| {
        let spread = Spread { median: check.measured, lowest: check.spread.0, highest: check.spread.1 };
        let verdict = if check.met { "met" } else { "MISSED" };
        vec![check.what.clone(), check.target.clone(), number(check.measured), spread.range(), verdict.to_owned()]
    };
    if run.checks.is_empty() {
        return "No target was checked.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = run.checks.iter().map(row).collect();
    align(&["target", "wanted", "measured", "lowest–highest", "verdict"], &rows, &[0, 1, 4])
}

fn comparisons(run: &Run) -> String {
    let rows: Vec<Vec<String>> = run.comparisons.iter().map(|one| comparison(one).to_vec()).collect();
    let head = ["this build over another", "median", "quartiles", "rounds"];
    if rows.is_empty() { String::new() } else { align(&head, &rows, &[0]) }
}

fn figures(run: &Run) -> Vec<String> {
    let line = |figure: &Figure| format!("{}: {} {}", figure.what, number(figure.value), figure.unit);
    run.figures.iter().map(line).collect()
}

fn faults(run: &Run) -> String {
    let faults = list("Faults: this run is worth nothing", &run.faults);
    if faults.is_empty() { "No faults: the stock, the holds and the answers agree.\n".to_owned() } else { faults }
}

/// Returns a heading with a line for each item, or nothing without items.
fn list(heading: &str, items: &[String]) -> String {
    let items: String = items.iter().map(|item| format!("- {item}\n")).collect();
    if items.is_empty() { items } else { format!("## {heading}\n\n{items}") }
}

/// Returns a table whose columns are as wide as their widest text. The columns in `left` begin at the left.
fn align(head: &[&str], rows: &[Vec<String>], left: &[usize]) -> String {
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| lines().filter_map(|line| line.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let field = |(column, text): (usize, &String)| match widths[column] {
        width if left.contains(&column) => format!("{text:<width$}"),
        width => format!("{text:>width$}"),
    };
    let rule = |(column, width): (usize, &usize)| match width - 1 {
        dashes if left.contains(&column) => "-".repeat(dashes + 1),
        dashes => format!("{}:", "-".repeat(dashes)),
    };
    let line = |fields: Vec<String>| format!("| {} |\n", fields.join(" | "));
    let mut table: Vec<String> = lines().map(|fields| line(fields.iter().enumerate().map(field).collect())).collect();
    table.insert(1, line(widths.iter().enumerate().map(rule).collect()));
    table.concat()
}

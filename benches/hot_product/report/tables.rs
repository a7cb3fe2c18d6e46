//! The page's tables. Where there is a second run, its numbers stand beside or under those of the first.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    report::{
        escape,
        summary::{
            NONE, Spread, comparison, cores, count, engine, in_order, load, mebibytes, median, milliseconds, number,
            of_scenario, per_grant, scenarios, with_range,
        },
    },
    results::{Cell, Check, Design, Figure, Round, Run},
};

/// What stands in a table.
enum Field {
    /// At the left, and wraps.
    Text(String),
    /// At the left, and stays in one line.
    Name(String),
    /// At the right, so that digits stand under digits.
    Number(String),
    /// Whether a target was met; absent where it wasn't checked.
    Verdict(Option<bool>),
}

/// Column headings over several columns each.
type Groups<'a> = &'a [(String, usize)];

/// Each target with what was measured, the missed ones marked.
pub(super) fn targets(run: &Run, other: Option<&Run>) -> String {
    let runs: Vec<&Run> = std::iter::once(run).chain(other).collect();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for check in runs.iter().flat_map(|run| &run.checks) {
        let name = (check.what.as_str(), check.target.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return "<p>No target was checked in this run.</p>".to_owned();
    }
    // The verdict first: on a phone the rest may be off the screen.
    let columns = ["verdict", "measured", "lowest–highest"];
    let head: Vec<&str> = ["what", "target"].into_iter().chain(runs.iter().flat_map(|_| columns)).collect();
    let row = |(what, target): &(&str, &str)| {
        let name = [Field::Text((*what).to_owned()), Field::Name((*target).to_owned())];
        let of = |run: &&Run| verdict(run.checks.iter().find(|check| check.what == *what && check.target == *target));
        name.into_iter().chain(runs.iter().flat_map(of)).collect()
    };
    let groups: Vec<(String, usize)> = runs.iter().map(|run| (engine(run), columns.len())).collect();
    let groups = if runs.len() > 1 { groups } else { Vec::new() };
    table(&groups, &head, &names.iter().map(row).collect::<Vec<_>>())
}

fn verdict(check: Option<&Check>) -> [Field; 3] {
    let measured = check.map(|check| number(check.measured)).unwrap_or(NONE.to_owned());
    let range = check.map(|check| Spread { median: check.measured, lowest: check.spread.0, highest: check.spread.1 });
    let range = range.map_or(NONE.to_owned(), Spread::range);
    [Field::Verdict(check.map(|check| check.met)), Field::Number(measured), Field::Number(range)]
}

/// This build beside another one, where that was measured too.
pub(super) fn comparisons(run: &Run) -> String {
    let row = |[what, numbers @ ..]: [String; 4]| {
        std::iter::once(Field::Text(what)).chain(numbers.map(Field::Number)).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<Field>> = run.comparisons.iter().map(comparison).map(row).collect();
    table(&[], &["what", "answers a second, over the other's", "quartiles", "rounds"], &rows)
}

/// What was measured, where and when.
pub(super) fn facts(run: &Run, other: Option<&Run>) -> String {
    let fact = |name: &str, of: fn(&Run) -> String| {
        let values = std::iter::once(run).chain(other).map(|run| Field::Text(of(run)));
        std::iter::once(Field::Name(name.to_owned())).chain(values).collect::<Vec<_>>()
    };
    let settings = |run: &Run| {
        let settings = run.database_settings.iter().map(|(name, value)| format!("{name} = {value}"));
        settings.collect::<Vec<_>>().join(", ")
    };
    let rows = [
        fact("machine", |run| run.machine.clone()),
        fact("database", |run| run.database.clone()),
        fact("durability and other settings", settings),
        fact("Redis", |run| run.redis.clone().unwrap_or_else(|| "not installed".to_owned())),
        fact("begun (UTC)", |run| run.started_at.clone()),
        fact("duration", |run| format!("{} minutes", number(run.seconds / 60.0))),
        fact("kind", |run| if run.quick { "quick" } else { "full" }.to_owned()),
    ];
    let head: Vec<String> = std::iter::once(run).chain(other).map(engine).collect();
    let head: Vec<&str> = std::iter::once("").chain(head.iter().map(String::as_str)).collect();
    table(&[], &head, &rows)
}

/// A scenario's cells: medians of the rounds, throughput with its spread. A second run's row follows that of the first.
pub(super) fn cells(scenario: &str, run: &Run, other: Option<&Run>) -> String {
    let mut rows: BTreeMap<(usize, Design, usize), Vec<Field>> = BTreeMap::new();
    for (index, run) in std::iter::once(run).chain(other).enumerate() {
        for cell in of_scenario(run, scenario) {
            let engine = other.map(|_| Field::Name(engine(run)));
            let names = [Field::Number(load(cell)), Field::Name(cell.design.label().to_owned())];
            let fields = names.into_iter().chain(engine).chain(medians(cell)).collect();
            rows.insert((cell.clients, cell.design, index), fields);
        }
    }
    let head: Vec<&str> = ["clients", "design"].into_iter().chain(other.map(|_| "run on")).chain(MEDIANS).collect();
    table(&[], &head, &rows.into_values().collect::<Vec<_>>())
}

/// The invisible spaces are where a heading may break: the numbers under it are narrow.
const MEDIANS: [&str; 11] = [
    "granted/s",
    "refused/s",
    "failed",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "slowest/\u{200b}median",
    "CPU cores",
    "peak MiB",
    "commits/\u{200b}grant",
    "prepares/\u{200b}grant",
];

fn medians(cell: &Cell) -> [Field; MEDIANS.len()] {
    let of = |number: fn(&Round) -> f64| Spread::of_rounds(cell, number);
    [
        with_range(of(|round| round.granted_per_second)),
        with_range(of(|round| round.refused_per_second)),
        count(cell.rounds.iter().map(|round| round.failed).sum::<u64>()),
        median(of(|round| milliseconds(round.latency.p50_us))),
        median(of(|round| milliseconds(round.latency.p99_us))),
        median(of(|round| milliseconds(round.latency.p999_us))),
        median(of(|round| round.slowest_over_median)),
        median(of(cores)),
        median(of(|round| mebibytes(round.server_peak_bytes))),
        median(per_grant(cell, |round| round.commits_per_grant)),
        median(per_grant(cell, |round| round.prepares_per_grant)),
    ]
    .map(Field::Number)
}

/// The numbers that are no cells. Without any, a sentence.
pub(super) fn figures(run: &Run, other: Option<&Run>) -> String {
    let names: Vec<&Figure> = std::iter::once(run).chain(other).flat_map(|run| &run.figures).collect();
    let mut seen = BTreeSet::new();
    let value = |run: &Run, of: &Figure| {
        let figure = run.figures.iter().find(|figure| figure.what == of.what && figure.unit == of.unit);
        figure.map_or(NONE.to_owned(), |figure| format!("{} {}", number(figure.value), figure.unit))
    };
    let row = |figure: &&Figure| {
        let values = std::iter::once(run).chain(other).map(|run| Field::Number(value(run, figure)));
        std::iter::once(Field::Text(figure.what.clone())).chain(values).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<Field>> =
        names.iter().filter(|figure| seen.insert((&figure.what, &figure.unit))).map(row).collect();
    if rows.is_empty() {
        return "<p>None in this run.</p>".to_owned();
    }
    let engines: Vec<String> = std::iter::once(run).chain(other).map(engine).collect();
    let head: Vec<&str> = std::iter::once("what").chain(engines.iter().map(String::as_str)).collect();
    table(&[], &head, &rows)
}

/// Every number of every round.
pub(super) fn rounds(run: &Run) -> String {
    let row = |cell: &Cell, index: usize, round: &Round| {
        let names = [
            Field::Name(cell.scenario.clone()),
            Field::Number(load(cell)),
            Field::Name(cell.design.label().to_owned()),
            Field::Number(count(index + 1)),
        ];
        names.into_iter().chain(round_numbers(round)).collect::<Vec<_>>()
    };
    let of_cell = |cell: &Cell| {
        let rounds = cell.rounds.iter().enumerate();
        rounds.map(|(index, round)| row(cell, index, round)).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<Field>> = in_order(run).into_iter().flat_map(of_cell).collect();
    let head: Vec<&str> = ["scenario", "clients", "design", "round"].into_iter().chain(ROUND).collect();
    let groups = [("", 6), ("latency ms", 4), ("CPU cores", 3), ("", 4)];
    let groups = groups.map(|(text, columns)| (text.to_owned(), columns));
    if rows.is_empty() { "<p>No cell was measured.</p>".to_owned() } else { table(&groups, &head, &rows) }
}

/// Six, then four of latency, three of processor time, and four more: the groups of [`rounds`].
const ROUND: [&str; 17] = [
    "seconds",
    "granted",
    "refused",
    "failed",
    "granted/s",
    "refused/s",
    "p50",
    "p99",
    "p99.9",
    "max",
    "client",
    "server",
    "database",
    "slowest/\u{200b}median",
    "peak MiB",
    "commits/\u{200b}grant",
    "prepares/\u{200b}grant",
];

fn round_numbers(round: &Round) -> [Field; ROUND.len()] {
    let latency = &round.latency;
    let optional = |value: Option<f64>| value.map_or(NONE.to_owned(), number);
    [
        number(round.seconds),
        count(round.granted),
        count(round.refused),
        count(round.failed),
        number(round.granted_per_second),
        number(round.refused_per_second),
        number(milliseconds(latency.p50_us)),
        number(milliseconds(latency.p99_us)),
        number(milliseconds(latency.p999_us)),
        number(milliseconds(latency.max_us)),
        number(round.cpu.client),
        number(round.cpu.server),
        number(round.cpu.database),
        number(round.slowest_over_median),
        number(mebibytes(round.server_peak_bytes)),
        optional(round.commits_per_grant),
        optional(round.prepares_per_grant),
    ]
    .map(Field::Number)
}

/// The scenarios of both runs, each once.
pub(super) fn all_scenarios<'a>(run: &'a Run, other: Option<&'a Run>) -> Vec<&'a str> {
    let mut names = scenarios(run);
    for name in other.map(scenarios).unwrap_or_default() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A table that scrolls by itself where the screen is narrower.
fn table(groups: Groups, head: &[&str], rows: &[Vec<Field>]) -> String {
    let numeric = |column: usize| rows.first().is_some_and(|row| matches!(row.get(column), Some(Field::Number(_))));
    let class = |column: usize| if numeric(column) { " class=number" } else { "" };
    let head: String = head
        .iter()
        .enumerate()
        .map(|(column, text)| format!("<th scope=col{}>{}</th>", class(column), escape(text)))
        .collect();
    let rows: String = rows.iter().map(|row| table_row(row)).collect();
    let groups = table_groups(groups, head.matches("<th").count());
    format!(
        "<div class=scroll tabindex=0><table><thead>{groups}<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// The line of headings over several columns; those not in a group are before it.
fn table_groups(groups: Groups, columns: usize) -> String {
    let grouped: usize = groups.iter().map(|(_, columns)| columns).sum();
    let before = columns.saturating_sub(grouped);
    let cell = |(text, columns): &(String, usize)| format!("<th class=group colspan={columns}>{}</th>", escape(text));
    let cells: String = groups.iter().map(cell).collect();
    let before = if before > 0 { format!("<th colspan={before}></th>") } else { String::new() };
    if groups.is_empty() { String::new() } else { format!("<tr>{before}{cells}</tr>") }
}

fn table_row(row: &[Field]) -> String {
    let field = |field: &Field| match field {
        Field::Text(text) => format!("<td class=text>{}</td>", escape(text)),
        Field::Name(text) => format!("<td class=name>{}</td>", escape(text)),
        Field::Number(text) => format!("<td class=number>{}</td>", escape(text)),
        Field::Verdict(None) => format!("<td>{NONE}</td>"),
        Field::Verdict(Some(true)) => "<td class=met>✓ met</td>".to_owned(),
        Field::Verdict(Some(false)) => "<td class=missed>✗ MISSED</td>".to_owned(),
    };
    format!("<tr>{}</tr>", row.iter().map(field).collect::<String>())
}

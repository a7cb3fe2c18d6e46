//! Sums several rounds up as their median, the lowest and the highest, and writes numbers.

use std::collections::BTreeSet;

use crate::results::{Cell, Comparison, Design, Round, Run};

/// The scenario of the targets and the plots.
pub(super) const HOT_PRODUCT: &str = "hot_product";
/// The scenario whose `clients` are calls a second.
pub(super) const OPEN_LOOP: &str = "open_loop";

/// What stands for an absent number.
pub(super) const NONE: &str = "–";

/// Holds the median of some rounds, and the lowest and the highest of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Spread {
    /// Returns nothing where no value is a number. The median of an even count is the mean of the two middle values.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(below, above), lowest, highest })
    }

    /// Sums up one number of each round of a cell.
    pub(super) fn of_rounds(cell: &Cell, number: impl Fn(&Round) -> f64) -> Option<Self> {
        Self::of(cell.rounds.iter().map(number))
    }

    /// Writes `lowest–highest`.
    pub(super) fn range(self) -> String {
        if !self.lowest.is_finite() || !self.highest.is_finite() {
            return NONE.to_owned();
        }
        format!("{}–{}", number(self.lowest), number(self.highest))
    }
}

/// Writes the median.
pub(super) fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| NONE.to_owned(), |spread| number(spread.median))
}

/// Writes the median, with the lowest and the highest behind it where they differ.
pub(super) fn with_range(spread: Option<Spread>) -> String {
    let range = spread.filter(|spread| spread.lowest < spread.highest).map(Spread::range);
    range.map_or_else(|| median(spread), |range| format!("{} ({range})", median(spread)))
}

/// Writes as many decimals as tell two rounds apart, and commas between thousands.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if !size.is_finite() => return NONE.to_owned(),
        size if size == 0.0 || size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.0995 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let grouped = group(digits);
    fraction.map_or_else(|| format!("{sign}{grouped}"), |fraction| format!("{sign}{grouped}.{fraction}"))
}

/// Returns what was compared with another build, the median, the quartiles, and the number of rounds.
pub(super) fn comparison(one: &Comparison) -> [String; 4] {
    let (lower, upper) = one.quartiles;
    let quartiles = format!("{}–{}", number(lower), number(upper));
    [one.what.clone(), number(one.measured), quartiles, count(one.rounds)]
}

/// Writes a whole number, with commas between thousands.
pub(super) fn count(value: impl ToString) -> String {
    group(&value.to_string())
}

fn group(digits: &str) -> String {
    let commas_before = |index: usize| index > 0 && (digits.len() - index).is_multiple_of(3);
    digits.char_indices().fold(String::new(), |mut text, (index, digit)| {
        text.extend(commas_before(index).then_some(','));
        text.push(digit);
        text
    })
}

pub(super) fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Sums up a number that some rounds lack: statements are counted only where there is a database.
pub(super) fn per_grant(cell: &Cell, number: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
    Spread::of(cell.rounds.iter().filter_map(number))
}

/// Writes `256`, or `20,000/s` where the load is a rate.
pub(super) fn load(cell: &Cell) -> String {
    let unit = if cell.scenario == OPEN_LOOP { "/s" } else { "" };
    format!("{}{unit}", count(cell.clients))
}

/// Returns the database's name and version without its packager's words: `MariaDB 10.11.19`, `MySQL 9.7.0`.
pub(super) fn engine(run: &Run) -> String {
    let version = run.database.split_whitespace().rfind(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let number = version.and_then(|word| word.split('-').next());
    match (run.database.contains("MariaDB"), run.database.contains("MySQL"), number) {
        (true, _, Some(number)) => format!("MariaDB {number}"),
        (false, true, Some(number)) => format!("MySQL {number}"),
        _ => run.database.clone(),
    }
}

/// Returns the cells in the order of the report.
///
/// The hot product comes first, then the other scenarios as they ran. In each, the fewest clients come first, and the
/// designs have the order of [`Design`].
pub(super) fn in_order(run: &Run) -> Vec<&Cell> {
    let names = scenarios(run);
    let place = |cell: &Cell| names.iter().position(|name| *name == cell.scenario);
    let mut cells: Vec<&Cell> = run.cells.iter().collect();
    cells.sort_by_key(|cell| (place(cell), cell.clients, cell.design));
    cells
}

/// Returns each scenario's name once, the hot product first and the others as they ran.
pub(super) fn scenarios(run: &Run) -> Vec<&str> {
    let mut names = vec![HOT_PRODUCT];
    for cell in &run.cells {
        if !names.contains(&cell.scenario.as_str()) {
            names.push(&cell.scenario);
        }
    }
    names
}

pub(super) fn of_scenario<'a>(run: &'a Run, scenario: &str) -> Vec<&'a Cell> {
    in_order(run).into_iter().filter(|cell| cell.scenario == scenario).collect()
}

/// Returns the designs that these cells measured.
pub(super) fn designs(cells: &[&Cell]) -> BTreeSet<Design> {
    cells.iter().map(|cell| cell.design).collect()
}

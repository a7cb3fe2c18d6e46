//! One direction of a plot: its range, its ticks, and where a value is on it.

use crate::report::summary::{Spread, number};

/// One direction of a plot: what it shows, from where to where.
pub(super) struct Axis {
    /// With its unit.
    pub(super) label: String,
    logarithmic: bool,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// From 0 to a round number not below the highest.
    pub(super) fn linear(label: &str, highest: f64) -> Self {
        let highest = if highest.is_finite() && highest > 0.0 { highest } else { 1.0 };
        let decade = 10_f64.powf((highest / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade).into_iter().find(|step| step * 5.5 >= highest);
        let step = step.unwrap_or(highest);
        let steps = (highest / step).ceil().clamp(1.0, 10.0) as u32;
        let ticks: Vec<f64> = (0..=steps).map(|index| f64::from(index) * step).collect();
        Self { label: label.to_owned(), logarithmic: false, low: 0.0, high: f64::from(steps) * step, ticks }
    }

    /// Over the positive values, in steps of 1, 2 and 5 where they are few, else in decades.
    pub(super) fn logarithmic(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = positive_range(values).unwrap_or((1.0, 10.0));
        // Beyond this range nothing is measured; the limit keeps the ticks few whatever the data say.
        let (first, last) = (low.log10().floor().max(-9.0) as i32, high.log10().ceil().min(12.0) as i32);
        let decades = (first..=last).map(|exponent| 10_f64.powi(exponent));
        let fine: Vec<f64> = decades.clone().flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * decade)).collect();
        let low = fine.iter().copied().rfind(|tick| *tick <= low).unwrap_or(low);
        let high = fine.iter().copied().find(|tick| *tick >= high && *tick > low).unwrap_or(high);
        let inside = |tick: &f64| (low..=high).contains(tick);
        // An end far from its decade gets a tick too, else nothing says where the axis ends.
        let decades: Vec<f64> = decades.filter(inside).collect();
        let start = decades.first().filter(|first| **first > low * 4.0).map(|_| low);
        let end = decades.last().filter(|last| **last * 4.0 < high).map(|_| high);
        let coarse: Vec<f64> = start.into_iter().chain(decades).chain(end).collect();
        let fine: Vec<f64> = fine.into_iter().filter(inside).collect();
        let ticks = if fine.len() <= 7 { fine } else { coarse };
        Self { label: label.to_owned(), logarithmic: true, low, high, ticks }
    }

    /// With a tick at each value that was measured, as the numbers of clients.
    pub(super) fn logarithmic_at(label: &str, values: Vec<f64>) -> Self {
        let (low, high) = positive_range(values.iter().copied()).unwrap_or((1.0, 10.0));
        Self { label: label.to_owned(), logarithmic: true, low, high, ticks: values }
    }

    /// Where a value is between `from` and `to`; one value alone is in the middle.
    pub(super) fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (low, high) = (scale(self.low), scale(self.high));
        let share = if high > low { ((scale(value) - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
        from + share * (to - from)
    }
}

fn positive_range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let values = Spread::of(values.filter(|value| *value > 0.0))?;
    Some((values.lowest, values.highest))
}

/// A tick's number, short enough for a phone: `20k`, `1.5M`.
pub(super) fn tick(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = number(scaled);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

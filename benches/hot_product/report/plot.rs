//! Plots as inline SVG: lines over a logarithmic or linear axis, and bars. Colours and dashes are classes of style.css,
//! so that they follow the reader's light or dark mode; a marker's shape says the same for who can't tell colours apart.
//!
//! The drawing is narrow and the browser scales it, so that it can be read on a phone.

use crate::report::{
    axis::{Axis, tick},
    escape,
    summary::Spread,
};

/// In user units, as everything here.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 350.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 62.0;
/// What stays free between the axis' ends and the first and last value of a logarithmic x axis.
const INSET: f64 = 16.0;
/// Series are drawn that far beside each other: whiskers at the same value would hide each other.
const BESIDE: f64 = 5.0;
/// Labels of an axis come no nearer to each other, at the font size that a phone gets.
const LABEL_APART: f64 = 44.0;
const BAR_HEIGHT: f64 = 16.0;
const BAR_ROW: f64 = 52.0;

/// One line of a plot.
pub(super) struct Series {
    /// Its colour and dash in style.css, and its marker's shape.
    pub(super) class: &'static str,
    pub(super) points: Vec<Point>,
}

pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: Spread,
    /// What hovering shows.
    pub(super) title: String,
}

/// Lines with a marker at each median, and whiskers from the lowest to the highest round.
pub(super) fn lines(name: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let middle = (series.len().saturating_sub(1)) as f64 / 2.0;
    let beside = |index: usize| (index as f64 - middle) * BESIDE;
    let drawn: String = series.iter().enumerate().map(|(index, one)| line(x, y, one, beside(index))).collect();
    frame(name, x, y, (LEFT + INSET, RIGHT - INSET), &drawn)
}

fn line(x: &Axis, y: &Axis, series: &Series, beside: f64) -> String {
    let across = |point: &Point| x.place(point.x, LEFT + INSET, RIGHT - INSET) + beside;
    let up = |value: f64| y.place(value, BOTTOM, TOP);
    let path = polyline(series.points.iter().map(|point| (across(point), up(point.y.median))));
    let point = |point: &Point| {
        let (x, y) = (across(point), up(point.y.median));
        let (top, bottom) = (up(point.y.highest), up(point.y.lowest));
        let whisker = whisker(&[(x, bottom), (x, top)]);
        let (marker, title) = (marker(series.class, x, y), escape(&point.title));
        format!("<g>{whisker}{marker}<circle class=touch cx={x:.1} cy={y:.1} r=12><title>{title}</title></circle></g>")
    };
    let points: String = series.points.iter().map(point).collect();
    format!("<g class={}>{path}{points}</g>", series.class)
}

/// Lines of single values, without markers: what happens from moment to moment. `end` is marked by a line across.
pub(super) fn course(name: &str, x: &Axis, y: &Axis, series: &[Course], end: Option<(f64, &str)>) -> String {
    let path = |one: &Course| {
        let points = one.points.iter().map(|&(at, value)| (x.place(at, LEFT, RIGHT), y.place(value, BOTTOM, TOP)));
        format!("<g class={}>{}</g>", one.class, polyline(points))
    };
    let paths: String = series.iter().map(path).collect();
    let end = end.map_or_else(String::new, |(at, text)| {
        let at = x.place(at, LEFT, RIGHT);
        let text = escape(text);
        let (anchor, beside) = if at > WIDTH / 2.0 { ("end", at - 6.0) } else { ("start", at + 6.0) };
        format!(
            "<line class=end x1={at:.1} x2={at:.1} y1={TOP} y2={BOTTOM} />\
             <text x={beside:.1} y={:.1} text-anchor={anchor}>{text}</text>",
            TOP - 6.0
        )
    });
    frame(name, x, y, (LEFT, RIGHT), &format!("{paths}{end}"))
}

/// One line of [`course`].
pub(super) struct Course {
    /// Its colour and dash in style.css.
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// A bar of one part or of several, which stand one after another.
pub(super) struct Bar {
    pub(super) label: String,
    /// Each with its class and its title.
    pub(super) parts: Vec<(&'static str, f64, String)>,
    /// Of all parts together; the whiskers.
    pub(super) total: Spread,
    /// The value in words, behind the label.
    pub(super) value: String,
}

/// Bars from left to right, each under its label, so that labels of any length fit on a phone.
pub(super) fn bars(name: &str, axis: &Axis, bars: &[Bar]) -> String {
    let bottom = bars.len() as f64 * BAR_ROW + 8.0;
    let height = bottom + 56.0;
    let across = |value: f64| axis.place(value, 4.0, RIGHT);
    let grid: String = apart(&axis.ticks, across)
        .into_iter()
        .map(|(at, value)| {
            let anchor = if at < LABEL_APART / 2.0 { "start" } else { "middle" };
            format!(
                "<line class=grid x1={at:.1} x2={at:.1} y1=0 y2={bottom} />\
                 <text x={at:.1} y={:.1} text-anchor={anchor}>{}</text>",
                bottom + 20.0,
                tick(value)
            )
        })
        .collect();
    let bar = |(row, bar): (usize, &Bar)| {
        let top = row as f64 * BAR_ROW + 28.0;
        let middle = top + BAR_HEIGHT / 2.0;
        let mut from = 0.0;
        let part = |(class, value, title): &(&str, f64, String)| {
            let (left, right) = (across(from), across(from + value));
            from += value;
            format!(
                "<rect class='bar {class}' x={left:.1} y={top:.1} width={:.1} height={BAR_HEIGHT}>\
                 <title>{}</title></rect>",
                (right - left).max(0.5),
                escape(title)
            )
        };
        let parts: String = bar.parts.iter().map(part).collect();
        let whisker = whisker(&[(across(bar.total.lowest), middle), (across(bar.total.highest), middle)]);
        let (label, value) = (escape(&bar.label), escape(&bar.value));
        format!(
            "{parts}<g class=total>{whisker}</g>\
             <text class=back x=4 y={:.1}>{label}: <tspan class=strong>{value}</tspan></text>",
            top - 7.0
        )
    };
    let drawn: String = bars.iter().enumerate().map(bar).collect();
    let label = format!("<text x={RIGHT} y={:.1} text-anchor=end>{}</text>", height - 12.0, escape(&axis.label));
    svg(name, height, &format!("{grid}{drawn}{label}"))
}

/// A dash and marker as the lines have it, or the colour of a bar's part, for the legend.
pub(super) fn swatch(class: &str) -> String {
    let drawn = format!("<path class=line d='M1 9H33' />{}", marker(class, 17.0, 9.0));
    format!("<svg class=swatch viewBox='0 0 34 18' aria-hidden=true><g class={class}>{drawn}</g></svg>")
}

/// Grid, ticks and labels around what is drawn.
fn frame(name: &str, x: &Axis, y: &Axis, (left, right): (f64, f64), drawn: &str) -> String {
    let columns = apart(&x.ticks, |value| x.place(value, left, right)).into_iter().map(|(at, value)| {
        format!(
            "<line class=grid x1={at:.1} x2={at:.1} y1={TOP} y2={BOTTOM} />\
             <text x={at:.1} y={:.1} text-anchor=middle>{}</text>",
            BOTTOM + 22.0,
            tick(value)
        )
    });
    let rows = y.ticks.iter().map(|&value| {
        let at = y.place(value, BOTTOM, TOP);
        format!(
            "<line class=grid x1={LEFT} x2={RIGHT} y1={at:.1} y2={at:.1} />\
             <text x={:.1} y={:.1} text-anchor=end>{}</text>",
            LEFT - 8.0,
            at + 5.0,
            tick(value)
        )
    });
    let grid: String = columns.chain(rows).collect();
    let labels = format!(
        "<text class=strong x=2 y=16>{}</text><text x={RIGHT} y={:.1} text-anchor=end>{}</text>",
        escape(&y.label),
        HEIGHT - 12.0,
        escape(&x.label)
    );
    svg(name, HEIGHT, &format!("{grid}{labels}{drawn}"))
}

fn svg(name: &str, height: f64, drawn: &str) -> String {
    let name = escape(name);
    format!("<svg class=plot viewBox='0 0 {WIDTH} {height}' role=img aria-label='{name}'>{drawn}</svg>")
}

/// The ticks whose labels don't touch, with their places.
fn apart(ticks: &[f64], place: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for &value in ticks {
        let at = place(value);
        if kept.last().is_none_or(|(last, _)| at - last >= LABEL_APART) {
            kept.push((at, value));
        }
    }
    kept
}

fn polyline(points: impl Iterator<Item = (f64, f64)>) -> String {
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polyline class=line points='{}' />", points.join(" "))
}

/// A line with a short stroke across each of its two ends.
fn whisker(ends: &[(f64, f64); 2]) -> String {
    let [(x1, y1), (x2, y2)] = *ends;
    // Across: sideways for an upright whisker, upright for a lying one.
    let (dx, dy) = if x1 == x2 { (4.0, 0.0) } else { (0.0, 4.0) };
    let cap = |x: f64, y: f64| format!("M{:.1} {:.1}L{:.1} {:.1}", x - dx, y - dy, x + dx, y + dy);
    format!("<path class=whisker d='M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}{}{}' />", cap(x1, y1), cap(x2, y2))
}

/// A shape for each class: what the colour says, for who can't tell colours apart.
fn marker(class: &str, x: f64, y: f64) -> String {
    let shape = match class {
        "flashsale" => "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
        "other" => "M0 -6L6 -1.5L3.5 5.5H-3.5L-6 -1.5Z",
        "ceiling" => "M-4.5 -4.5H4.5V4.5H-4.5Z",
        "plain" => "M0 -6L5.5 4.5H-5.5Z",
        "everysec" => "M0 -6.5L6.5 0L0 6.5L-6.5 0Z",
        "always" => "M0 6L5.5 -4.5H-5.5Z",
        _ => return String::new(),
    };
    format!("<path class=marker transform='translate({x:.1} {y:.1})' d='{shape}' />")
}

//! Draws the plots: throughput and latency over clients, and one sale from its start to sold out.

use std::{error::Error, ops::Range};

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    },
    prelude::*,
};

use crate::{
    report::summary::{HOT_PRODUCT, Spread, designs, engine, milliseconds, of_scenario},
    results::{Cell, Design, Moment, Round, Run},
};

const SIZE: (u32, u32) = (1400, 1000);
const FONT: &str = "sans-serif";
/// The room above the highest value, as a factor.
const ROOM: f64 = 1.1;

type Drawn = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Holds one line of a plot.
struct Series {
    label: &'static str,
    color: RGBColor,
    /// The place on the x axis, and the values there.
    points: Vec<(f64, Spread)>,
}

/// Draws all plots of a run, as the text of an SVG file.
pub(crate) fn plots(run: &Run) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let root = root.titled(&format!("flashsale, hot product on {}", engine(run)), (FONT, 26))?;
        let areas = root.split_evenly((2, 2));
        let cells = of_scenario(run, HOT_PRODUCT);
        let throughput = over_clients(&cells, |round| round.granted_per_second);
        let highest = values(&throughput).fold(1.0, f64::max) * ROOM;
        draw(
            &areas[0],
            "granted per second, over clients",
            clients(&cells).log_scale().base(2.0),
            0.0..highest,
            &throughput,
        )?;
        let p50 = over_clients(&cells, |round| milliseconds(round.latency.p50_us));
        draw(
            &areas[1],
            "p50 in ms, over clients",
            clients(&cells).log_scale().base(2.0),
            positive(&p50).log_scale(),
            &p50,
        )?;
        let p99 = over_clients(&cells, |round| milliseconds(round.latency.p99_us));
        draw(
            &areas[3],
            "p99 in ms, over clients",
            clients(&cells).log_scale().base(2.0),
            positive(&p99).log_scale(),
            &p99,
        )?;
        timeline(&areas[2], &run.timeline)?;
        root.present()?;
    }
    Ok(svg)
}

/// Draws a sale in answers per second.
fn timeline(area: &Area<'_>, moments: &[Moment]) -> Drawn {
    let course = |label, color, value: fn(&Moment) -> f64| {
        let point = |at: &Moment| Some((at.second, Spread::of([value(at)])?));
        Series { label, color, points: moments.iter().filter_map(point).collect() }
    };
    let series =
        [course("granted", BLUE, |at| at.granted_per_second), course("refused", RED, |at| at.refused_per_second)];
    let end = moments.last().map_or(1.0, |last| last.second);
    let highest = values(&series).fold(1.0, f64::max) * ROOM;
    draw(area, "a sale from its start to sold out: answers per second, over seconds", 0.0..end, 0.0..highest, &series)
}

/// Returns a line for each design: medians of the rounds, from the lowest to the highest.
fn over_clients(cells: &[&Cell], value: fn(&Round) -> f64) -> Vec<Series> {
    let of_design = |design: Design| {
        let cells = cells.iter().filter(|cell| cell.design == design);
        let points = cells.filter_map(|cell| Some((cell.clients as f64, Spread::of_rounds(cell, value)?)));
        Series { label: design.label(), color: color(design), points: points.collect() }
    };
    designs(cells).into_iter().map(of_design).collect()
}

fn color(design: Design) -> RGBColor {
    match design {
        Design::Flashsale => BLUE,
        Design::Other => CYAN,
        Design::Ceiling => BLACK,
        Design::Plain => GREEN,
        Design::RedisEverysec => RED,
        Design::RedisAlways => MAGENTA,
    }
}

/// Returns the range of the numbers of clients. A logarithmic range may not be empty.
fn clients(cells: &[&Cell]) -> Range<f64> {
    let clients = Spread::of(cells.iter().map(|cell| cell.clients as f64));
    clients.map_or(1.0..2.0, |clients| clients.lowest / ROOM..clients.highest * ROOM)
}

/// Returns the range of the positive values.
fn positive(series: &[Series]) -> Range<f64> {
    let range = Spread::of(values(series).filter(|value| *value > 0.0));
    range.map_or(1.0..2.0, |range| range.lowest / ROOM..range.highest * ROOM)
}

fn values(series: &[Series]) -> impl Iterator<Item = f64> {
    let points = series.iter().flat_map(|series| &series.points);
    points.flat_map(|(_, spread)| [spread.lowest, spread.highest])
}

fn draw<X, Y>(area: &Area<'_>, title: &str, x: X, y: Y, series: &[Series]) -> Drawn
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area);
    chart.caption(title, (FONT, 18)).margin(12).x_label_area_size(30).y_label_area_size(70);
    let mut chart = chart.build_cartesian_2d(x, y)?;
    chart.configure_mesh().max_light_lines(0).draw()?;
    for Series { label, color, points } in series {
        let style = color.stroke_width(2);
        let medians = points.iter().map(|(x, spread)| (*x, spread.median));
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style);
        chart.draw_series(LineSeries::new(medians, style))?.label(*label).legend(legend);
        let whiskers = points.iter().filter(|(_, spread)| spread.lowest < spread.highest);
        let whisker = |(x, Spread { lowest, median, highest }): &(f64, Spread)| {
            ErrorBar::new_vertical(*x, *lowest, *median, *highest, color.filled(), 6)
        };
        chart.draw_series(whiskers.map(whisker))?;
    }
    if series.iter().any(|series| !series.points.is_empty()) {
        let background = WHITE.mix(0.8);
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft).background_style(background).border_style(BLACK).draw()?;
    }
    Ok(())
}

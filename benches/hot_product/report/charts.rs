//! The page's plots: which numbers of a run go into which. How they are drawn is in `plot`.

use crate::{
    report::{
        axis::Axis,
        escape,
        plot::{self, Bar, Course, Point, Series},
        summary::{
            HOT_PRODUCT, OPEN_LOOP, Spread, cores, count, designs, load, milliseconds, number, of_scenario, with_range,
        },
    },
    results::{Cell, Design, Moment, Round, Run},
};

/// Processor time is shown at the measured number of clients that is nearest to this one.
const CPU_CLIENTS: f64 = 256.0;

/// Throughput and latency over clients for all designs, and the processor time at one number of clients.
pub(super) fn hot_product(run: &Run) -> String {
    let cells = of_scenario(run, HOT_PRODUCT);
    if cells.is_empty() {
        return "<p>This scenario was not run.</p>".to_owned();
    }
    let throughput = over_clients(&cells, Scale::Linear, "granted per second", |round| round.granted_per_second);
    let p50 = over_clients(&cells, Scale::Logarithmic, "p50, milliseconds", |round| milliseconds(round.latency.p50_us));
    let p99 = over_clients(&cells, Scale::Logarithmic, "p99, milliseconds", |round| milliseconds(round.latency.p99_us));
    let legend: Vec<(&str, &str)> = designs(&cells).into_iter().map(|design| (class(design), design.label())).collect();
    format!(
        "{}<p class=quiet>Points are medians of the rounds, whiskers go from the lowest to the highest round. The \
         designs are drawn a little beside each other, so that whiskers don't hide each other. The empty RPC does \
         nothing: it is the most that server and load generator can do.</p><div class=plots>{}{}{}{}</div>",
        legend_of(&legend, true),
        figure("Throughput over clients.", &throughput),
        processor_time(&cells),
        figure("Median latency over clients; both axes are logarithmic.", &p50),
        figure("p99 latency over clients; both axes are logarithmic.", &p99),
    )
}

/// Of the y axis; that of the clients is always logarithmic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

fn over_clients(cells: &[&Cell], scale: Scale, label: &str, value: fn(&Round) -> f64) -> String {
    let mut clients: Vec<usize> = cells.iter().map(|cell| cell.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    let x = Axis::logarithmic_at("clients at the same moment", clients.iter().map(|&clients| clients as f64).collect());
    let values = || cells.iter().flat_map(|cell| cell.rounds.iter().map(value));
    let y = match scale {
        Scale::Linear => Axis::linear(label, values().fold(0.0, f64::max)),
        Scale::Logarithmic => Axis::logarithmic(label, values()),
    };
    let point = |cell: &&Cell| {
        // A logarithmic axis has no place for 0.
        let y = Spread::of_rounds(cell, value).filter(|spread| scale == Scale::Linear || spread.median > 0.0)?;
        let title = format!("{}, {} clients: {label}: {}", cell.design.label(), load(cell), with_range(Some(y)));
        Some(Point { x: cell.clients as f64, y, title })
    };
    let of_design = |design: Design| {
        let points = cells.iter().filter(|cell| cell.design == design).filter_map(point).collect();
        Series { class: class(design), points }
    };
    let series: Vec<Series> = designs(cells).into_iter().map(of_design).collect();
    plot::lines(&format!("hot product: {label}, over clients"), &x, &y, &series)
}

fn processor_time(cells: &[&Cell]) -> String {
    let distance = |clients: usize| ((clients.max(1) as f64) / CPU_CLIENTS).ln().abs();
    let nearest = cells.iter().map(|cell| cell.clients).min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    let Some(clients) = nearest else { return String::new() };
    let bar = |cell: &&Cell| {
        let total = Spread::of_rounds(cell, cores)?;
        let part = |name, of: fn(&Round) -> f64| {
            let spread = Spread::of_rounds(cell, of)?;
            Some((name, spread.median, format!("{}, {name}: {} cores", cell.design.label(), with_range(Some(spread)))))
        };
        let each = Spread::of_rounds(cell, |round| cores(round) * 1e6 / round.per_second());
        let each = each.map(|each| format!(", {} µs each", number(each.median))).unwrap_or_default();
        let value = format!("{} cores{each}", number(total.median));
        let parts = [
            part("client", |round| round.cpu.client),
            part("server", |round| round.cpu.server),
            part("database", |round| round.cpu.database),
        ];
        let parts = parts.into_iter().flatten().collect();
        Some(Bar { label: cell.design.label().to_owned(), parts, total, value })
    };
    let bars: Vec<Bar> = cells.iter().filter(|cell| cell.clients == clients).filter_map(bar).collect();
    let highest = bars.iter().map(|bar| bar.total.highest).fold(0.0, f64::max);
    let drawn = plot::bars("processor time per design", &Axis::linear("cores busy", highest), &bars);
    let legend =
        legend_of(&[("client", "load generator"), ("server", "server"), ("database", "database or Redis")], false);
    let caption = format!(
        "Processor time at {} clients, parts as medians, whiskers for their sum. Beside the cores: \
         what each answer took, all three together.",
        count(clients)
    );
    figure(&caption, &format!("{legend}{drawn}"))
}

/// Throughput of each cell of a scenario as bars; in the open loop, where throughput is given, the p99.
pub(super) fn scenario(name: &str, run: &Run) -> String {
    let cells = of_scenario(run, name);
    let open = name == OPEN_LOOP;
    let (unit, label, value): (&str, &str, fn(&Round) -> f64) = if open {
        ("ms", "p99, milliseconds", |round| milliseconds(round.latency.p99_us))
    } else {
        ("/s", "answers per second, granted and refused", Round::per_second)
    };
    let bar = |cell: &&Cell| {
        let total = Spread::of_rounds(cell, value)?;
        let load = if open { format!("{} calls", load(cell)) } else { format!("{} clients", load(cell)) };
        let label = format!("{}, {load}", cell.design.label());
        let text = format!("{}{}{unit}", number(total.median), if open { " " } else { "" });
        let title = format!("{label}: {} {unit}", with_range(Some(total)));
        Some(Bar { label, parts: vec![(class(cell.design), total.median, title)], total, value: text })
    };
    let bars: Vec<Bar> = cells.iter().filter_map(bar).collect();
    if bars.is_empty() {
        return String::new();
    }
    let highest = bars.iter().map(|bar| bar.total.highest).fold(0.0, f64::max);
    let drawn = plot::bars(&format!("{name}: {label}"), &Axis::linear(label, highest), &bars);
    let what = if open { "p99" } else { "Answers per second" };
    figure(&format!("{what}: medians, whiskers from the lowest to the highest round."), &drawn)
}

/// A sale from its start to sold out: two plots over the same seconds.
pub(super) fn timeline(moments: &[Moment]) -> String {
    let Some(last) = moments.last() else { return "<p>No sale was followed in this run.</p>".to_owned() };
    let x = || Axis::linear("seconds since the sale began", moments.iter().map(|at| at.second).fold(0.0, f64::max));
    let course = |class: &'static str, value: fn(&Moment) -> f64| Course {
        class,
        points: moments.iter().filter(|at| value(at).is_finite()).map(|at| (at.second, value(at))).collect(),
    };
    // The last moment that still granted something, if the sale was followed beyond it.
    let sold_out = moments.iter().rfind(|at| at.granted_per_second > 0.0).filter(|at| at.second < last.second);
    let end = sold_out.map(|at| (at.second, format!("sold out at {} s", number(at.second))));
    let end = || end.as_ref().map(|(at, text)| (*at, text.as_str()));
    let highest = moments.iter().map(|at| at.granted_per_second.max(at.refused_per_second)).fold(0.0, f64::max);
    let answers = plot::course(
        "a sale: granted and refused per second",
        &x(),
        &Axis::linear("answers per second", highest),
        &[course("granted", |at| at.granted_per_second), course("refused", |at| at.refused_per_second)],
        end(),
    );
    let mut slow = course("p99", |at| milliseconds(at.p99_us));
    // A moment without answers has no latency.
    slow.points.retain(|(_, value)| *value > 0.0);
    let y = Axis::logarithmic("p99, milliseconds", slow.points.iter().map(|(_, value)| *value));
    let latency = plot::course("a sale: p99 latency", &x(), &y, &[slow], end());
    format!(
        "<p class=quiet>One sale, so there are no whiskers; each point is what was answered since the one before.</p>\
         <div class=plots>{}{}</div>",
        figure(
            "Answers per second.",
            &format!("{}{answers}", legend_of(&[("granted", "granted"), ("refused", "refused")], true))
        ),
        figure(
            "p99 of the answers in each moment; the y axis is logarithmic.",
            &format!("{}{latency}", legend_of(&[("p99", "p99 latency")], true))
        )
    )
}

fn figure(caption: &str, drawn: &str) -> String {
    format!("<figure>{drawn}<figcaption>{}</figcaption></figure>", escape(caption))
}

/// Class and label of each.
fn legend_of(entries: &[(&str, &str)], lines: bool) -> String {
    let entry = |(class, label): &(&str, &str)| {
        let swatch = if lines { plot::swatch(class) } else { format!("<span class='box {class}'></span>") };
        format!("<li>{swatch}{}</li>", escape(label))
    };
    format!("<ul class=legend>{}</ul>", entries.iter().map(entry).collect::<String>())
}

/// The design's colour in style.css and its marker's shape.
fn class(design: Design) -> &'static str {
    match design {
        Design::Flashsale => "flashsale",
        Design::Other => "other",
        Design::Ceiling => "ceiling",
        Design::Plain => "plain",
        Design::RedisEverysec => "everysec",
        Design::RedisAlways => "always",
    }
}

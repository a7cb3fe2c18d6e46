//! What a run measured, for people: one HTML page that needs nothing beside itself, and a table for the terminal.
//!
//! A page and not a notebook or a service, so that it can be attached to a CI run or a mail and still be opened in some
//! years. Without JavaScript for the same reason; hovering over a point shows its numbers.

mod axis;
mod charts;
mod plot;
mod summary;
mod tables;
mod terminal;

use crate::results::{Check, Run};
use summary::{HOT_PRODUCT, OPEN_LOOP, engine};
pub(crate) use terminal::table;

const STYLE: &str = include_str!("report/style.css");

/// The scenarios beside the hot product: name, heading, what happens in it. Each has its section even if it wasn't run.
const SCENARIOS: [(&str, &str, &str); 12] = [
    ("sold_out", "Sold out", "Nothing is left: each call is refused, by a database read made after the call arrived."),
    ("fresh_reads", "Fresh stock reads", "Calls ask what is left. Each answer was read after its call arrived."),
    (
        "checkouts",
        "Whole checkouts",
        "Hold, order, the payment's webhook through the gateway, paid. One grant is one checkout.",
    ),
    (
        "sixteen_products",
        "Sixteen hot products",
        "The clients are spread over 16 products; the numbers are all products' together.",
    ),
    (
        "two_servers",
        "Two servers, one database",
        "Two server processes sell the same product; memory and processor time are theirs together.",
    ),
    ("buyer_limit", "A limit per buyer", "The hot product allows each buyer only so many units."),
    ("box_office_none", "A box office", "Each eighth hold of a product with a limit is one buyer's."),
    ("box_office_live", "A box office with 20,000 holds", "The same, where this buyer had 20,000 holds that count."),
    (
        "box_office_dead",
        "A box office with a past",
        "The same, where this buyer had 300,000 holds that no longer count.",
    ),
    ("sweeping_while_selling", "Selling while sweeping", "The hot product is sold while expired holds are swept."),
    (
        OPEN_LOOP,
        "Open loop",
        "Calls begin at a fixed rate, whatever was answered before, and latency counts from the intended begin.",
    ),
    ("restart", "Restart under load", "The server is restarted while it sells."),
];

/// The page about a run. `other` is a run on another engine: it stands beside in the tables and among the targets, and
/// is in no plot. Whatever is missing in a run is left out with a sentence.
pub(crate) fn html(run: &Run, other: Option<&Run>) -> String {
    let known = SCENARIOS.iter().copied();
    let unknown = tables::all_scenarios(run, other).into_iter();
    let unknown = unknown.filter(|name| *name != HOT_PRODUCT && SCENARIOS.iter().all(|(known, ..)| known != name));
    let scenarios = known.chain(unknown.map(|name| (name, name, "")));
    let scenarios: String = scenarios.map(|(name, title, what)| scenario(name, title, what, run, other)).collect();
    let body = [
        verdict(run, other),
        section("Targets", &tables::targets(run, other)),
        comparisons(run),
        section("What ran", &tables::facts(run, other)),
        section("One hot product", &hot_product(run, other)),
        section("A sale from start to sold out", &charts::timeline(&run.timeline)),
        scenarios,
        section("Figures", &tables::figures(run, other)),
        section("Faults", &faults(run, other)),
        rounds(run, other),
    ];
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta name=viewport content='width=device-width, initial-scale=1'>\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        escape(&format!("flashsale, hot product on {}", engine(run))),
        body.concat()
    )
}

/// The result in a sentence for each run, before anything else.
fn verdict(run: &Run, other: Option<&Run>) -> String {
    let sentences: String = std::iter::once(run).chain(other).map(verdict_of).collect();
    format!("<h1>flashsale beside Redis and plain transactions</h1>\n{sentences}")
}

fn verdict_of(run: &Run) -> String {
    let missed: Vec<&Check> = run.checks.iter().filter(|check| !check.met).collect();
    let (class, sentence) = match (run.checks.len(), missed.len()) {
        (0, _) => ("quiet", "no target was checked".to_owned()),
        (1, 0) => ("met", "the one target is met".to_owned()),
        (all, 0) => ("met", format!("all {all} targets are met")),
        (all, missed) => ("missed", format!("{missed} of {all} targets MISSED")),
    };
    let missed: Vec<&str> = missed.iter().map(|check| check.what.as_str()).collect();
    let missed =
        if missed.is_empty() { String::new() } else { format!("<p>Missed: {}.</p>", escape(&missed.join("; "))) };
    let quick = if run.quick {
        "<p>This was a quick run: short rounds on few numbers of clients, which show a collapse and not the speed.</p>"
    } else {
        ""
    };
    let faults = match run.faults.len() {
        0 => String::new(),
        1 => "<p class=fault>The books did not balance: 1 fault. This run is worth nothing.</p>".to_owned(),
        faults => format!("<p class=fault>The books did not balance: {faults} faults. This run is worth nothing.</p>"),
    };
    format!(
        "<p class=verdict>{}: <span class={class}>{sentence}</span></p>\n{faults}{missed}{quick}",
        escape(&engine(run))
    )
}

fn comparisons(run: &Run) -> String {
    if run.comparisons.is_empty() { String::new() } else { section("Another build", &tables::comparisons(run)) }
}

fn hot_product(run: &Run, other: Option<&Run>) -> String {
    let no_redis = "<p>Redis isn't installed where this ran, so there is nothing of it to compare with.</p>";
    let no_redis = if run.redis.is_none() { no_redis } else { "" };
    format!("{no_redis}{}{}", charts::hot_product(run), cells(HOT_PRODUCT, run, other))
}

fn scenario(name: &str, title: &str, what: &str, run: &Run, other: Option<&Run>) -> String {
    let what = format!("<p>{}</p>", escape(what));
    let table = cells(name, run, other);
    let content = if table.is_empty() {
        "<p class=quiet>No round of this was measured; if it ran, its numbers are among the figures.</p>".to_owned()
    } else {
        format!("{}{table}", charts::scenario(name, run))
    };
    section(title, &format!("{what}{content}"))
}

/// A scenario's table, or nothing where neither run has a cell of it.
fn cells(name: &str, run: &Run, other: Option<&Run>) -> String {
    let measured = std::iter::once(run).chain(other).any(|run| run.cells.iter().any(|cell| cell.scenario == name));
    if measured { tables::cells(name, run, other) } else { String::new() }
}

fn faults(run: &Run, other: Option<&Run>) -> String {
    let of = |run: &Run| {
        let faults: String = run.faults.iter().map(|fault| format!("<li>{}</li>", escape(fault))).collect();
        let engine = escape(&engine(run));
        if faults.is_empty() {
            format!("<p>{engine}: none. No check of the stock, the holds and the answers failed.</p>")
        } else {
            format!("<div class=fault><p>{engine}:</p><ul>{faults}</ul></div>")
        }
    };
    std::iter::once(run).chain(other).map(of).collect()
}

fn rounds(run: &Run, other: Option<&Run>) -> String {
    let of = |run: &Run| section(&format!("Every round, {}", engine(run)), &tables::rounds(run));
    std::iter::once(run).chain(other).map(of).collect()
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}\n</section>\n", escape(title))
}

/// Text as it may stand in an element or an attribute.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
        escaped
    })
}

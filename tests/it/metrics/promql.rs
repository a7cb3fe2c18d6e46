//! Finds what queries of Prometheus ask for: metrics, their labels, and the labels that they group by.

use std::collections::BTreeSet;

/// Lists the words of the language that look like names of metrics.
const WORDS: [&str; 12] =
    ["and", "or", "unless", "bool", "sum", "max", "min", "avg", "count", "without", "ignoring", "offset"];
/// Lists the words that a list of labels follows.
const GROUPS: [&str; 2] = ["by", "on"];

/// Holds one metric that a query asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    /// Its name, with the suffix of a histogram.
    pub(super) metric: String,
    /// Label, operator and value of each condition.
    pub(super) conditions: Vec<(String, String, String)>,
}

/// Holds what a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) selectors: Vec<Selector>,
    /// The labels in `by (…)` and `on (…)`.
    pub(super) groups: BTreeSet<String>,
}

/// Reads a query that Prometheus takes. Functions, numbers and ranges are passed over.
pub(super) fn read(query: &str) -> Query {
    let mut found = Query::default();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            rest = rest.split_once(']').unwrap().1;
            continue;
        }
        if !is_of_name(first) || first.is_ascii_digit() {
            let length = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.').unwrap_or(rest.len());
            rest = &rest[length.max(first.len_utf8())..];
            continue;
        }
        let name;
        (name, rest) = rest.split_at(rest.find(|sign| !is_of_name(sign)).unwrap_or(rest.len()));
        rest = rest.trim_start();
        if GROUPS.contains(&name) {
            let (labels, after) = rest.strip_prefix('(').unwrap().split_once(')').unwrap();
            found.groups.extend(labels.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        } else if !rest.starts_with('(') && !WORDS.contains(&name) {
            let (conditions, after) = conditions(rest);
            found.selectors.push(Selector { metric: name.to_owned(), conditions });
            rest = after;
        }
    }
    found
}

fn is_of_name(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == ':'
}

/// Reads `{label="value", …}`, where it is there, and returns what is after it.
fn conditions(text: &str) -> (Vec<(String, String, String)>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (Vec::new(), text) };
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let (label_and_operator, after) = rest.split_once('"').unwrap();
        let (value, after) = after.split_once('"').unwrap();
        let (label, operator) = label_and_operator.split_at(label_and_operator.find(|sign| !is_of_name(sign)).unwrap());
        found.push((label.to_owned(), operator.to_owned(), value.to_owned()));
        rest = after;
    }
}

#[test]
fn a_query_is_read_as_prometheus_does() {
    let query = "histogram_quantile(0.99, sum by (le, lane) (rate(wait_bucket[$__rate_interval])))
        / on (job) (max(up{job=~\"flash.*\", instance!=\"a, b\"}) > 14.4 * 0.001) and x:y:rate5m or absent(z)";
    let selector = |metric: &str, conditions: &[(&str, &str, &str)]| {
        let owned = |(label, operator, value): &(&str, &str, &str)| {
            ((*label).to_owned(), (*operator).to_owned(), (*value).to_owned())
        };
        Selector { metric: metric.to_owned(), conditions: conditions.iter().map(owned).collect() }
    };
    assert_eq!(
        read(query),
        Query {
            selectors: vec![
                selector("wait_bucket", &[]),
                selector("up", &[("job", "=~", "flash.*"), ("instance", "!=", "a, b")]),
                selector("x:y:rate5m", &[]),
                selector("z", &[]),
            ],
            groups: ["le", "lane", "job"].map(str::to_owned).into(),
        }
    );
}

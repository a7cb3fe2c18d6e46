//! The queries of the alerts, the recording rules and the dashboard against the pages of real programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use super::{
    Shop,
    page::Page,
    promql::{self, Query, Selector},
    sell,
    table::{Metric, metrics},
};

const RULES: &str = "prometheus/rules.yml";
const ALERTS: &str = "prometheus/alerts.yml";
const DASHBOARD: &str = "grafana/dashboards/flashsale.json";
/// Lists the labels that Prometheus adds to what it reads, and that the recording rules add to what they record.
const ADDED: [&str; 4] = ["job", "instance", "le", "seen_by"];

/// Reads a file of deploy/.
fn deployed(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).unwrap()
}

/// Lists the queries of a file of rules. A query is all between `expr:` and the next key.
fn queries_of_rules(file: &str) -> Vec<String> {
    let text = deployed(file);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let begins = |line: &str| line.trim_start().starts_with("expr:");
    let is_key = |line: &str| {
        let line = line.trim_start();
        ["- ", "for:", "labels:", "annotations:"].iter().any(|key| line.starts_with(key))
    };
    let starts = (0..lines.len()).filter(|place| begins(lines[*place]));
    let query = |start: usize| {
        let more = lines[start + 1..].iter().take_while(|line| !is_key(line));
        let first = lines[start].trim_start().trim_start_matches("expr:").trim().trim_matches('|');
        std::iter::once(&first).chain(more).copied().collect::<Vec<_>>().join("\n")
    };
    starts.map(query).collect()
}

/// Lists the queries of the dashboard, each with the labels that its legend shows.
fn queries_of_dashboard() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&deployed(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let query = |target: &Value| {
        let legend = target["legendFormat"].as_str().unwrap();
        let labels = legend.split("{{").skip(1).map(|label| label.split_once("}}").unwrap().0.to_owned());
        (target["expr"].as_str().unwrap().to_owned(), labels.collect())
    };
    targets.map(query).collect()
}

/// Knows what there is to ask for.
struct Known {
    pages: BTreeMap<&'static str, Page>,
    table: BTreeMap<String, Metric>,
    recorded: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    /// Returns the labels that a metric has, or None where there is no such metric.
    fn labels(&self, metric: &str) -> Option<BTreeSet<String>> {
        if metric == "up" {
            return Some(BTreeSet::new());
        }
        if let Some(labels) = self.recorded.get(metric) {
            return Some(labels.clone());
        }
        let series = self.pages.values().flat_map(|page| &page.series);
        let found: Vec<_> = series.filter(|series| series.name == metric).collect();
        (!found.is_empty()).then(|| found.iter().flat_map(|series| series.labels.keys().cloned()).collect())
    }

    /// Returns whether a metric may have this value of a label, going by its row in the table.
    fn has_value(&self, metric: &str, label: &str, value: &str) -> bool {
        let parts = ["_bucket", "_sum", "_count", ""].into_iter().filter_map(|suffix| metric.strip_suffix(suffix));
        let row = parts.filter_map(|name| self.table.get(name)).next();
        let values = row.and_then(|row| row.labels.get(label));
        values.is_none_or(|values| values.is_empty() || values.contains(value))
    }

    fn faults(&self, query: &Query) -> Vec<String> {
        let mut faults = Vec::new();
        let mut labels: BTreeSet<String> = ADDED.map(str::to_owned).into();
        for Selector { metric, conditions } in &query.selectors {
            let Some(of_metric) = self.labels(metric) else {
                faults.push(format!("no page has {metric}"));
                continue;
            };
            for (label, operator, value) in conditions {
                if !of_metric.contains(label) && !ADDED.contains(&label.as_str()) {
                    faults.push(format!("{metric} has no label {label} on any page"));
                } else if operator == "=" && !self.has_value(metric, label, value) {
                    faults.push(format!("{metric} never has {label}={value}"));
                }
            }
            labels.extend(of_metric);
        }
        let strange = query.groups.difference(&labels);
        faults.extend(strange.map(|label| format!("no metric of the query has the label {label}")));
        faults
    }
}

/// Returns the names that the rules record, each with the labels that it keeps.
fn recorded() -> BTreeMap<String, BTreeSet<String>> {
    let text = deployed(RULES);
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    names.zip(queries_of_rules(RULES)).map(|(name, query)| (name.to_owned(), promql::read(&query).groups)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_and_label_that_alerts_and_dashboard_ask_for_is_on_a_page() {
    let shop = Shop::open("metrics_watched").await;
    sell(&shop).await;
    let table = metrics().into_iter().map(|metric| (metric.name.clone(), metric)).collect();
    let known = Known { pages: shop.pages().await, table, recorded: recorded() };
    let of_rules = [RULES, ALERTS].into_iter().flat_map(queries_of_rules).map(|query| (query, Vec::new()));
    let queries: Vec<_> = of_rules.chain(queries_of_dashboard()).collect();
    assert!(queries.len() > 70, "{}", queries.len());
    let mut faults = Vec::new();
    for (text, legend) in &queries {
        let query = promql::read(text);
        assert!(!query.selectors.is_empty(), "{text}");
        faults.extend(known.faults(&query).into_iter().map(|fault| format!("{fault}: {text}")));
        let shown = |label: &&String| query.groups.contains(*label) || ADDED.contains(&label.as_str());
        faults.extend(legend.iter().filter(|label| !shown(label)).map(|label| format!("no {label} is left: {text}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
    shop.close().await;
}

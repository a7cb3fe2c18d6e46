//! Reads a page of metrics.

use std::collections::BTreeMap;

/// Holds one line with a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// The metric that it belongs to: for a bucket, its histogram.
    pub(super) metric: String,
    /// The name on the line.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Series {
    pub(super) fn label(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(String::as_str)
    }
}

/// Holds all lines of a page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) series: Vec<Series>,
    kinds: BTreeMap<String, String>,
}

impl Page {
    pub(super) fn parse(text: &str) -> Self {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds: BTreeMap<String, String> = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| series(line, &kinds)).collect();
        Self { series, kinds }
    }

    /// Returns the type of a metric: counter, gauge or histogram.
    pub(super) fn kind(&self, metric: &str) -> Option<&str> {
        self.kinds.get(metric).map(String::as_str)
    }

    pub(super) fn series_of<'p>(&'p self, metric: &'p str) -> impl Iterator<Item = &'p Series> {
        self.series.iter().filter(move |series| series.metric == metric)
    }

    /// Returns the value of the series with this name and exactly these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_it = |series: &&Series| {
            series.name == name
                && series.labels.len() == labels.len()
                && labels.iter().all(|(label, value)| series.label(label) == Some(*value))
        };
        self.series.iter().find(is_it).map(|series| series.value)
    }

    /// Returns the units of a product in a state.
    pub(super) fn usage(&self, product_id: i64, state: &str) -> Option<f64> {
        self.value("flashsale_stock_usage", &[("product_id", &product_id.to_string()), ("state", state)])
    }
}

fn series(line: &str, kinds: &BTreeMap<String, String>) -> Series {
    let (name_and_labels, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = name_and_labels.split_once('{').unwrap_or((name_and_labels, "}"));
    let labels = labels.strip_suffix('}').unwrap().split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (label, value) = pair.split_once('=').unwrap();
        (label.to_owned(), value.trim_matches('"').to_owned())
    };
    let parts = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
    let histogram = parts.map(str::to_owned).find(|metric| kinds.get(metric).is_some_and(|kind| kind == "histogram"));
    Series {
        metric: histogram.unwrap_or_else(|| name.to_owned()),
        name: name.to_owned(),
        labels: labels.map(pair).collect(),
        value: value.parse().unwrap(),
    }
}

//! The recorder of the metrics, and the page on which Prometheus reads them.

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::metric_names::{
    GATEWAY_REQUESTS, HOLDS, LOCK_CONFLICTS, LOG_LINES_DROPPED, STRIPE_EVENTS_IGNORED, SWEEPER_HOLDS_EXPIRED,
    SWEEPER_LAST_RUN, SWEEPER_ORDERS_CANCELLED, SWEEPER_RUNS, SWEEPER_STOCK_RELEASED, TRANSACTION_RETRIES, WEBHOOKS,
};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Installs the process's recorder, unless it is installed already. Anything counted before is lost.
///
/// # Errors
/// The process has another recorder.
pub(super) fn install() -> Result<&'static PrometheusHandle, String> {
    static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let handle = PrometheusBuilder::new().install_recorder().map_err(|error| error.to_string())?;
            describe();
            // The page shows it from the start: an alarm can't watch a metric that doesn't exist.
            metrics::counter!(LOG_LINES_DROPPED).increment(0);
            Ok(handle)
        })
        .as_ref()
        .map_err(Clone::clone)
}

fn describe() {
    describe_counter!(HOLDS, "Answers to CreateHold by outcome");
    describe_counter!(WEBHOOKS, "Payment webhooks by what became of them");
    describe_counter!(LOCK_CONFLICTS, "Deadlocks and lock waits that the database reported");
    describe_counter!(TRANSACTION_RETRIES, "Transactions that were run again");
    describe_counter!(GATEWAY_REQUESTS, "Answers of the gateway by route and status");
    describe_counter!(STRIPE_EVENTS_IGNORED, "Events of Stripe that are about no order");
    describe_counter!(LOG_LINES_DROPPED, "Log lines that were dropped because nobody read them");
    describe_counter!(SWEEPER_RUNS, "Sweeps that ended");
    describe_counter!(SWEEPER_HOLDS_EXPIRED, "Holds that sweeps expired");
    describe_counter!(SWEEPER_ORDERS_CANCELLED, "Orders that sweeps cancelled for want of a payment");
    describe_counter!(SWEEPER_STOCK_RELEASED, "Units that sweeps gave back");
    describe_gauge!(SWEEPER_LAST_RUN, Unit::Seconds, "When the last sweep ended, in seconds since 1970 (UTC)");
}

/// Renders the page that Prometheus reads: its content type, and its text.
///
/// # Errors
/// The recorder can't be installed.
pub async fn metrics_page() -> Result<(&'static str, String), String> {
    let handle = install()?;
    // The recorder drops what it no longer needs.
    handle.run_upkeep();
    Ok((CONTENT_TYPE, handle.render()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_description_and_is_in_the_table() {
        let names = include_str!("../metric_names.rs");
        let constants: Vec<&str> =
            names.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
        assert!(constants.len() >= 11, "{constants:?}");
        for constant in constants {
            let described = |kind: &str| include_str!("metrics.rs").contains(&format!("{kind}!({constant}, "));
            assert!(described("describe_counter") || described("describe_gauge"), "{constant} is not described");
            let in_table =
                names.lines().any(|line| line.starts_with("//! | ") && line.contains(&format!("[`{constant}`]")));
            assert!(in_table, "{constant} is not in the table");
        }
    }

    #[tokio::test]
    async fn the_page_has_the_counters_and_their_descriptions() {
        install().unwrap();
        metrics::counter!(HOLDS, "outcome" => "created").increment(3);
        let (_, page) = metrics_page().await.unwrap();
        assert!(page.contains("# TYPE flashsale_holds_total counter"), "{page}");
        assert!(page.contains("# HELP flashsale_holds_total Answers to CreateHold by outcome"), "{page}");
        assert!(page.contains("flashsale_holds_total{outcome=\"created\"} 3"), "{page}");
    }
}

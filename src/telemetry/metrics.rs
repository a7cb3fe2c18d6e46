//! Numbers for Prometheus: the names of all of them, and the page that shows them.
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | [`HOLDS`] | `outcome` | answers to CreateHold |
//! | [`WEBHOOKS`] | `outcome` | payment webhooks by what became of them |
//! | [`LOCK_CONFLICTS`] | `kind`, `transaction` | deadlocks and lock waits that the database reported |
//! | [`TRANSACTION_RETRIES`] | `transaction`, `reason` | transactions that were run again |
//! | [`GATEWAY_REQUESTS`] | `route`, `status` | answers of the gateway |
//! | [`LOG_LINES_DROPPED`] | – | log lines that nobody read in time |
//! | [`SWEEPER_RUNS`], [`SWEEPER_HOLDS_EXPIRED`], [`SWEEPER_ORDERS_CANCELLED`], [`SWEEPER_STOCK_RELEASED`], [`SWEEPER_LAST_RUN`] | – | what the table `sweeper_state` says |
//!
//! The sweeper lives for seconds and can't be scraped, so it keeps its totals in its table and the servers show them.

use std::{convert::Infallible, future::Future, io, sync::OnceLock, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use metrics::{Unit, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

/// Counter: answers to CreateHold, by `outcome`.
pub const HOLDS: &str = "flashsale_holds_total";
/// Counter: payment webhooks, by `outcome`.
pub const WEBHOOKS: &str = "flashsale_webhooks_total";
/// Counter: conflicts over locks that the database reported, by `kind` and `transaction`.
pub const LOCK_CONFLICTS: &str = "flashsale_lock_conflicts_total";
/// Counter: transactions that were run again, by `transaction` and `reason`.
pub const TRANSACTION_RETRIES: &str = "flashsale_transaction_retries_total";
/// Counter: answers of the gateway, by `route` (its pattern, so that their number is bounded) and `status`.
pub const GATEWAY_REQUESTS: &str = "flashsale_gateway_requests_total";
/// Counter: log lines that were dropped because nobody read them in time, or that could not be written.
pub const LOG_LINES_DROPPED: &str = "flashsale_log_lines_dropped_total";
/// Counter, set to the table's total: sweeps that ended.
pub const SWEEPER_RUNS: &str = "flashsale_sweeper_runs_total";
/// Counter, set to the table's total: holds that sweeps expired.
pub const SWEEPER_HOLDS_EXPIRED: &str = "flashsale_sweeper_holds_expired_total";
/// Counter, set to the table's total: orders that sweeps cancelled.
pub const SWEEPER_ORDERS_CANCELLED: &str = "flashsale_sweeper_orders_cancelled_total";
/// Counter, set to the table's total: units that sweeps gave back.
pub const SWEEPER_STOCK_RELEASED: &str = "flashsale_sweeper_stock_released_total";
/// Gauge: when the last sweep ended, in seconds since 1970 (UTC).
pub const SWEEPER_LAST_RUN: &str = "flashsale_sweeper_last_run_timestamp_seconds";

/// How often the recorder tidies up after itself.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Installs the process's recorder, unless it is there. What is counted before is lost.
///
/// # Errors
/// The process has another recorder.
pub(super) fn install() -> Result<&'static PrometheusHandle, String> {
    static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let handle = PrometheusBuilder::new().install_recorder().map_err(|error| error.to_string())?;
            describe();
            // Shown from the start: an alarm can't go by a number that isn't there.
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
    describe_counter!(LOG_LINES_DROPPED, "Log lines that were dropped because nobody read them");
    describe_counter!(SWEEPER_RUNS, "Sweeps that ended");
    describe_counter!(SWEEPER_HOLDS_EXPIRED, "Holds that sweeps expired");
    describe_counter!(SWEEPER_ORDERS_CANCELLED, "Orders that sweeps cancelled for want of a payment");
    describe_counter!(SWEEPER_STOCK_RELEASED, "Units that sweeps gave back");
    describe_gauge!(SWEEPER_LAST_RUN, Unit::Seconds, "When the last sweep ended, in seconds since 1970 (UTC)");
}

/// Serves `GET /metrics`, and 404 for anything else, until `shutdown`.
///
/// # Errors
/// The recorder can't be installed.
pub async fn serve_metrics(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let handle = install().map_err(io::Error::other)?;
    let page = move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], handle.render()) };
    let routes = Router::new().route("/metrics", get(page).fallback(not_found)).fallback(not_found);
    // Not drained: a scrape takes milliseconds, and a client that only keeps its connection must not delay the end.
    tokio::select! {
        served = axum::serve(listener, routes) => served,
        never = upkeep(handle) => match never {},
        () = shutdown => Ok(()),
    }
}

async fn upkeep(handle: &PrometheusHandle) -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

#[cfg(test)]
mod tests {
    use reqwest::{Client, StatusCode};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_page_has_the_counters_and_their_descriptions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve_metrics(listener, async { stopped.await.unwrap_or_default() }));
        let client = Client::new();
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();

        // The server is up, so the recorder is there.
        assert_eq!(status(client.get(format!("{url}/metrics"))).await, StatusCode::OK);
        metrics::counter!(HOLDS, "outcome" => "created").increment(3);
        let answer = client.get(format!("{url}/metrics")).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], CONTENT_TYPE);
        let page = answer.text().await.unwrap();
        assert!(page.contains("# TYPE flashsale_holds_total counter"), "{page}");
        assert!(page.contains("# HELP flashsale_holds_total Answers to CreateHold by outcome"), "{page}");
        assert!(page.contains("flashsale_holds_total{outcome=\"created\"} 3"), "{page}");

        for (method, path) in [("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/x"), ("DELETE", "/other")] {
            let request = client.request(method.parse().unwrap(), format!("{url}{path}"));
            assert_eq!(status(request).await, StatusCode::NOT_FOUND, "{method} {path}");
        }

        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        assert!(client.get(format!("{url}/metrics")).send().await.is_err(), "the listener is closed");
    }
}

//! The metrics of the sweeps. A sweep is gone before anybody can scrape it, so the servers show the totals in its
//! table.

use std::time::UNIX_EPOCH;

use metrics::{counter, gauge};

use crate::{checkout::SweeperTotals, metric_names};

/// Sets the metrics to the totals that were read.
pub(super) fn export(totals: &SweeperTotals) {
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    counter!(metric_names::SWEEPER_RUNS).absolute(unsigned(totals.runs));
    counter!(metric_names::SWEEPER_HOLDS_EXPIRED).absolute(unsigned(totals.holds_expired));
    counter!(metric_names::SWEEPER_ORDERS_CANCELLED).absolute(unsigned(totals.orders_cancelled));
    counter!(metric_names::SWEEPER_STOCK_RELEASED).absolute(unsigned(totals.stock_released));
    if let Some(since_1970) = totals.last_run_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
        gauge!(metric_names::SWEEPER_LAST_RUN).set(since_1970.as_secs_f64());
    }
}

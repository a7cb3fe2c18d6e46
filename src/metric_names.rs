//! The names of the metrics, which Prometheus reads.
//!
//! | metric | labels | what it counts |
//! |---|---|---|
//! | [`HOLDS`] | `outcome` | answers to CreateHold |
//! | [`WEBHOOKS`] | `outcome` | payment webhooks |
//! | [`LOCK_CONFLICTS`] | `kind`, `transaction` | deadlocks and lock waits that the database reported |
//! | [`TRANSACTION_RETRIES`] | `transaction`, `reason` | transactions that were run again |
//! | [`GATEWAY_REQUESTS`] | `route`, `status` | answers of the gateway |
//! | [`STRIPE_EVENTS_IGNORED`] | `type` | events of Stripe that are about no order |
//! | [`LOG_LINES_DROPPED`] | – | log lines that nobody read in time |
//! | [`SWEEPER_RUNS`], [`SWEEPER_HOLDS_EXPIRED`], [`SWEEPER_ORDERS_CANCELLED`], [`SWEEPER_STOCK_RELEASED`], [`SWEEPER_LAST_RUN`] | – | the totals in the table `sweeper_state` |
//!
//! The sweeper lives for seconds, so nothing can scrape it. It keeps its totals in its table, and the servers show
//! them.

/// Counts answers to CreateHold, by `outcome`.
pub const HOLDS: &str = "flashsale_holds_total";
/// Counts payment webhooks, by `outcome`.
pub const WEBHOOKS: &str = "flashsale_webhooks_total";
/// Counts conflicts over locks that the database reported, by `kind` and `transaction`.
pub const LOCK_CONFLICTS: &str = "flashsale_lock_conflicts_total";
/// Counts transactions that were run again, by `transaction` and `reason`.
pub const TRANSACTION_RETRIES: &str = "flashsale_transaction_retries_total";
/// Counts answers of the gateway, by `route` (a name from a fixed list) and HTTP `status`.
pub const GATEWAY_REQUESTS: &str = "flashsale_gateway_requests_total";
/// Counts events of Stripe that are about no order, by `type`: one that settles orders but names none, or `_OTHER`.
pub const STRIPE_EVENTS_IGNORED: &str = "flashsale_stripe_events_ignored_total";
/// Counts log lines that were dropped because nobody read them in time, or that could not be written.
pub const LOG_LINES_DROPPED: &str = "flashsale_log_lines_dropped_total";
/// Counts sweeps that ended. It is set to the table's total.
pub const SWEEPER_RUNS: &str = "flashsale_sweeper_runs_total";
/// Counts holds that sweeps expired. It is set to the table's total.
pub const SWEEPER_HOLDS_EXPIRED: &str = "flashsale_sweeper_holds_expired_total";
/// Counts orders that sweeps cancelled. It is set to the table's total.
pub const SWEEPER_ORDERS_CANCELLED: &str = "flashsale_sweeper_orders_cancelled_total";
/// Counts units that sweeps gave back. It is set to the table's total.
pub const SWEEPER_STOCK_RELEASED: &str = "flashsale_sweeper_stock_released_total";
/// Says when the last sweep ended, in seconds since 1970 (UTC).
pub const SWEEPER_LAST_RUN: &str = "flashsale_sweeper_last_run_timestamp_seconds";

//! The metrics: what is counted and measured, and the page on which Prometheus reads it.
//!
//! The table of all metrics is `docs/metrics.md`; a test holds it against live pages. The instruments are
//! OpenTelemetry's. So the same numbers stand on the page ([`page`]) and go to a collector by OTLP, where [`install`]
//! is given a reader for that.
//!
//! | file | what |
//! |---|---|
//! | `pipeline` | the process's meter, and the page |
//! | `rpc` | calls of the server, calls to the server, and refusals |
//! | `http` | requests of the gateway, and webhooks that it didn't believe |
//! | `checkout` | holds, orders and payments |
//! | `lanes` | batches, and the waits for them |
//! | `database` | transactions, conflicts, the pool |
//! | `program` | whether it serves, its version, its connections, its log |
//! | `figures` | what is read from the database for the page |
//! | `labels` | the values of labels that are known beforehand |
//! | `handles` | instruments with their labels, made once |
//!
//! Counting is on the way of every call. A handle with its labels costs an addition or a short lock, where an
//! instrument without them looks its labels up each time. What happens once in a batch, or in the gateway, does without.
//!
//! Counters and gauges begin at 0 with all labels that are known beforehand: an alert can't see the first failure of a
//! counter that wasn't there before.

mod checkout;
mod database;
mod figures;
mod handles;
mod http;
mod labels;
mod lanes;
mod pipeline;
mod program;
mod rpc;

pub use checkout::{OrderState, count_hold, count_order, record_webhook};
pub use database::{
    PoolFigures, Ran, count_lock_conflict, count_pool_timeout, count_retry, count_violation, watch_pool,
};
pub use figures::{Figures, ProductFigures, show as show_figures};
pub use http::{count_bad_signature, count_ignored_event, record_request, show_ignored_events};
pub use labels::{REASONS, RETRY_REASONS};
pub use lanes::{LaneMetrics, watch_queue};
pub use pipeline::{CONTENT_TYPE, before_each_page, install, keep_fresh, page, shutdown};
pub use program::{ConnectionFigures, count_dropped_lines, set_serving, watch_connections};
pub use rpc::{Measured, Method, count_refusal, measure_call_to_server, measure_served_call};

/// Shows what a server counts, from 0.
pub fn start_server() {
    program::start();
    rpc::start_server();
    checkout::start();
    database::start();
    figures::start();
}

/// Shows what a gateway counts, from 0.
pub fn start_gateway() {
    program::start();
    http::start();
}

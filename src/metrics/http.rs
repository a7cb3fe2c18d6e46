//! Requests of the gateway, webhooks whose signature it didn't accept, and events of Stripe that are about no order.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};

use super::{
    handles::CountersBy,
    labels::{OTHER, SIGNATURE_CAUSES},
    pipeline::meter,
    rpc::CALL_BUCKETS,
};

/// Lists the HTTP methods that have a name in the metrics, as the conventions do. A caller may make up others.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

static REQUESTS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    meter()
        .f64_histogram("http.server.request.duration")
        .with_description("How long requests took that the gateway answered")
        .with_unit("s")
        .with_boundaries(CALL_BUCKETS.to_vec())
        .build()
});
static BAD_SIGNATURES: LazyLock<CountersBy> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.webhook.signature_failures")
        .with_description("Webhooks whose signature was not accepted")
        .with_unit("{webhook}");
    CountersBy::new(counter.build(), "cause", SIGNATURE_CAUSES)
});
static IGNORED_EVENTS: LazyLock<Counter<u64>> = LazyLock::new(|| {
    meter()
        .u64_counter("flashsale.stripe.events_ignored")
        .with_description("Events of Stripe that are about no order")
        .with_unit("{event}")
        .build()
});

/// Records a request that was answered. `route` is one of the gateway's, and `None` for any other path.
pub fn record_request(method: &str, route: Option<&'static str>, status: u16, took: Duration) {
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
    let [method, status] =
        [KeyValue::new("http.request.method", method), KeyValue::new("http.response.status_code", i64::from(status))];
    match route {
        Some(route) => {
            REQUESTS.record(took.as_secs_f64(), &[method, status, KeyValue::new("http.route", route)]);
        }
        None => REQUESTS.record(took.as_secs_f64(), &[method, status]),
    }
}

/// Counts a webhook whose signature was not accepted.
pub fn count_bad_signature(cause: &'static str) {
    BAD_SIGNATURES.add(cause, 1);
}

/// Counts an event of Stripe that is about no order.
pub fn count_ignored_event(event_type: &'static str) {
    IGNORED_EVENTS.add(1, &[KeyValue::new("type", event_type)]);
}

/// Shows the ignored events of these types from 0.
pub fn show_ignored_events(types: impl IntoIterator<Item = &'static str>) {
    for event_type in types {
        IGNORED_EVENTS.add(0, &[KeyValue::new("type", event_type)]);
    }
}

pub(super) fn start() {
    LazyLock::force(&BAD_SIGNATURES);
}

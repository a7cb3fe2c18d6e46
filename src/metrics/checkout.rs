//! Holds, orders and payments.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::KeyValue;

use super::{
    handles::{CountersBy, Histograms},
    labels::{HOLD_OUTCOMES, ORDER_STATES, WEBHOOK_OUTCOMES},
    pipeline::meter,
    rpc::CALL_BUCKETS,
};

static HOLDS: LazyLock<CountersBy> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.hold.requests")
        .with_description("Requests for holds by what became of them")
        .with_unit("{request}");
    CountersBy::named(counter.build(), "outcome", HOLD_OUTCOMES, |outcome| outcome.to_ascii_lowercase().into())
});
static ORDERS: LazyLock<CountersBy> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.order.transitions")
        .with_description("Orders by the state that they came to")
        .with_unit("{order}");
    CountersBy::new(counter.build(), "state", ORDER_STATES)
});
static WEBHOOKS: LazyLock<Histograms> = LazyLock::new(|| {
    let histogram = meter()
        .f64_histogram("flashsale.webhook.duration")
        .with_description("How long payment webhooks took, by what became of them")
        .with_unit("s")
        .with_boundaries(CALL_BUCKETS.to_vec());
    Histograms::new(histogram.build(), WEBHOOK_OUTCOMES.len())
});

/// Names a state that an order has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// It was made, and is not paid.
    Pending,
    /// It is paid.
    Paid,
    /// It was cancelled.
    Cancelled,
}

/// Counts a request for a hold: `created`, `replayed`, or the reason of its refusal.
pub fn count_hold(outcome: &'static str) {
    HOLDS.add(outcome, 1);
}

/// Counts orders that have come to a state.
pub fn count_order(state: OrderState, orders: usize) {
    let state = match state {
        OrderState::Pending => "pending",
        OrderState::Paid => "paid",
        OrderState::Cancelled => "cancelled",
    };
    ORDERS.add(state, u64::try_from(orders).unwrap_or(u64::MAX));
}

/// Records what became of a payment webhook, and the time from its arrival to its answer.
pub fn record_webhook(outcome: &'static str, took: Duration) {
    let place = WEBHOOK_OUTCOMES.iter().position(|known| *known == outcome).unwrap_or(usize::MAX);
    WEBHOOKS.record(place, took.as_secs_f64(), || vec![KeyValue::new("outcome", outcome)]);
}

pub(super) fn start() {
    LazyLock::force(&HOLDS);
    LazyLock::force(&ORDERS);
}

//! What the checkout is set to, and how much its lanes take.

use std::time::Duration;

use crate::{db::Database, lane::LaneLimits};

/// Products that are asked for at the same moment, at most.
const PRODUCT_LANES_MAX: usize = 10_000;
/// Commands in a batch that takes or reads one product.
const PRODUCT_BATCH_MAX: usize = 1024;
/// Commands in a batch in which each command touches a row of its own.
const ROWS_BATCH_MAX: usize = 256;

/// How long a call may wait for rows that others have locked. A run that began just before may wait for one more lock,
/// up to 2 s on MySQL. The caller has to get the answer before its gateway gives up, by the contract after 4 s.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Batches of a use case that are always allowed in flight, even on one core. More batches only cut the same commands
/// into smaller ones: on two cores, sixteen hot products sold 1.07 times as fast with two batches in flight as with
/// four. With one batch for each product they sold 0.57 to 0.70 times as fast as one product.
const BATCHES_IN_FLIGHT_MIN: usize = 2;

/// Sets what the checkout depends on beside the database.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a hold lasts.
    pub hold_ttl: Duration,
    /// How long an order may stay unpaid; `None`: for ever.
    pub payment_due: Option<Duration>,
    /// Whether a payment's success has to say its amount.
    pub require_amount: bool,
    /// Commands that wait in one lane, at least 1.
    pub lane_queue: usize,
}

/// Limits the lanes of the checkout.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckoutLimits {
    /// Limits use cases whose batches take or read one product.
    pub(super) product: LaneLimits,
    /// Limits use cases whose commands each touch a row of their own.
    pub(super) rows: LaneLimits,
}

impl CheckoutLimits {
    /// Derives the limits from this machine, the database's pool and the settings.
    pub(super) fn new(database: &Database, settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Half of the pool is left for commands whose rows nobody has locked.
        let in_flight = cores.max(BATCHES_IN_FLIGHT_MIN).min((database.pool_size() / 2).max(1));
        let limits = |batch_max| LaneLimits {
            batch_max,
            queue_max: settings.lane_queue,
            lanes_max: PRODUCT_LANES_MAX,
            in_flight,
            lock_patience: LOCK_PATIENCE,
        };
        Self { product: limits(PRODUCT_BATCH_MAX), rows: limits(ROWS_BATCH_MAX) }
    }
}

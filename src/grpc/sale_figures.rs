//! Reads the database for the page of metrics, when the page is asked for and what it has is too old.
//!
//! There is one reading at a time, and after each a rest. Adding up the orders of a large sale takes the database
//! seconds, so the rest is nine times as long as the reading: it never takes more than a tenth of a core.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tracing::warn;

use super::gate::Gate;
use crate::metrics;

/// How long after a reading the page has what it read.
const CACHED: Duration = Duration::from_secs(15);
/// How many times longer than a reading the rest after it is.
const REST: u32 = 9;
/// How long after the rest what was read is still shown, while the next reading is under way or fails.
const SHOWN_AFTER_REST: Duration = Duration::from_secs(45);

/// Reads the figures of one server.
#[derive(Debug, Clone)]
pub(super) struct SaleFigures {
    /// It goes with the server. The page of metrics stays as long as the process.
    gate: Weak<Gate>,
    /// When the next reading may begin. It is locked during a reading.
    next: Arc<Mutex<Instant>>,
}

impl SaleFigures {
    pub(super) fn new(gate: &Arc<Gate>) -> Self {
        Self { gate: Arc::downgrade(gate), next: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Returns once the page's figures are as new as they may be. If it is dropped, the reading goes on.
    pub(super) async fn refresh(self) {
        let Ok(mut next) = Arc::clone(&self.next).try_lock_owned() else {
            // Another page waits for the same reading.
            drop(self.next.lock().await);
            return;
        };
        if Instant::now() < *next {
            return;
        }
        let reading = tokio::spawn(async move {
            if let Some(took) = self.read().await {
                *next = Instant::now() + rest_after(took);
            }
        });
        // It fails only where the reading has panicked.
        let _panicked = reading.await.is_err();
    }

    /// Reads the figures and shows them. Returns how long that took. `None`: the database isn't known to be ready.
    async fn read(&self) -> Option<Duration> {
        let gate = self.gate.upgrade();
        let checkout = gate.as_ref()?.opened()?;
        let began = Instant::now();
        let read = checkout.sale_figures().await;
        let took = began.elapsed();
        match read {
            Ok(figures) => metrics::show_figures(figures, Instant::now() + rest_after(took) + SHOWN_AFTER_REST),
            Err(error) => warn!(%error, "The figures of the metrics can't be read"),
        }
        Some(took)
    }
}

fn rest_after(took: Duration) -> Duration {
    CACHED.max(took.saturating_mul(REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reading_is_followed_by_a_longer_rest() {
        for (took, rest) in [(0, 15_000), (1_000, 15_000), (2_000, 18_000), (60_000, 540_000)] {
            assert_eq!(rest_after(Duration::from_millis(took)), Duration::from_millis(rest), "{took} ms");
        }
    }
}

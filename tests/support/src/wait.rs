//! Waits for a condition, with a limit.
//!
//! The only sleeps of the suite are here. Most conditions come true in another process or in the database, where
//! nothing can wake the test. A short pause between two looks leaves the processor to that process. No test sleeps in
//! the hope that something has happened meanwhile.

use std::{
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` is true, and fails the test after `limit` with the text `what`.
pub async fn eventually(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually_some(limit, what, async || condition().await.then_some(())).await;
}

/// Waits until `look` finds something, and returns it.
pub async fn eventually_some<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits in a thread without async code until `look` finds something; returns `None` after `limit`.
pub fn look_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = look();
        if found.is_some() || start.elapsed() >= limit {
            return found;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until a moment has come, only for what the database server does by the clock.
pub async fn until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
}

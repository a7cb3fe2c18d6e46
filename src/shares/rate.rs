//! How many calls a second a caller may make.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

use super::CallerId;

/// Says after how many calls those callers are forgotten who could make as many calls as ever.
const FORGET_AFTER: usize = 4096;

/// Limits the calls of each caller to a rate. Once a caller has rested for a second, he may make a second's calls at
/// once.
///
/// It remembers only callers of the last second, and as many again as make `FORGET_AFTER` calls.
#[derive(Debug)]
pub struct Rate {
    limiter: DefaultKeyedRateLimiter<CallerId>,
    clock: DefaultClock,
    calls: AtomicUsize,
}

impl Rate {
    /// Allows each caller this many calls a second.
    pub fn per_second(calls: NonZeroU32) -> Self {
        let limiter = DefaultKeyedRateLimiter::hashmap(Quota::per_second(calls));
        Self { limiter, clock: DefaultClock::default(), calls: AtomicUsize::new(0) }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// How long the caller has to wait until he may call again.
    pub fn count(&self, caller: CallerId) -> Result<(), Duration> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % FORGET_AFTER == FORGET_AFTER - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&caller).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_his_rate_whatever_others_do() {
        let rate = Rate::per_second(NonZeroU32::new(100).unwrap());
        let (one, other) = (CallerId::of(&1), CallerId::of(&2));
        let allowed = (0..10_000).filter(|_| rate.count(one).is_ok()).count();
        assert!((100..1000).contains(&allowed), "{allowed}");
        let wait = (0..10_000).find_map(|_| rate.count(one).err()).expect("a limit");
        assert!(wait <= Duration::from_millis(10), "{wait:?}");
        assert!(rate.count(other).is_ok());
    }

    #[test]
    fn callers_who_have_rested_are_forgotten() {
        let rate = Rate::per_second(NonZeroU32::new(1_000_000).unwrap());
        for number in 0..20 * FORGET_AFTER {
            rate.count(CallerId::of(&number)).unwrap();
        }
        assert!(rate.limiter.len() <= 2 * FORGET_AFTER, "{}", rate.limiter.len());
    }
}

//! Says when a line may be written that could come very often.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Says when it is time again.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Is ready once in each `every`, the first time at once.
    pub const fn every(every: Duration) -> Self {
        Self { every, last: Mutex::new(None) }
    }

    /// Tells whether it is time. If so, the next time begins.
    pub fn is_time(&self) -> bool {
        self.is_time_at(Instant::now())
    }

    fn is_time_at(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| now.duration_since(last) >= self.every);
        if is_time {
            *last = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_at_once_and_then_once_in_each_interval() {
        let (seldom, start) = (Seldom::every(Duration::from_secs(60)), Instant::now());
        let said = [0, 1, 59, 60, 61, 119, 120].map(|second| seldom.is_time_at(start + Duration::from_secs(second)));
        assert_eq!(said, [true, false, false, true, false, false, true]);
        let often = Seldom::every(Duration::ZERO);
        assert!(often.is_time() && often.is_time());
    }
}

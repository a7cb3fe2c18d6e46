//! Lines that a stranger can cause, and that are therefore few a second.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Limits the lines of a second.
const LINES_A_SECOND: u32 = 10;

/// Lets through at most ten lines a second, and counts the others.
#[derive(Debug)]
pub struct Few(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the present second began.
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Few {
    /// Lets the first lines through.
    #[expect(clippy::new_without_default, reason = "it stands in a static")]
    pub const fn new() -> Self {
        Self(Mutex::new(State { began: None, written: 0, left_out: 0 }))
    }

    /// Returns how many lines were left out since the last one. `None`: this line is to be left out, too.
    pub fn is_due(&self) -> Option<u64> {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1)) {
            (state.began, state.written) = (Some(now), 0);
        }
        if state.written == LINES_A_SECOND {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_of_a_second_are_let_through_and_the_others_are_counted() {
        let (few, start) = (Few::new(), Instant::now());
        let at = |milliseconds| few.is_due_at(start + Duration::from_millis(milliseconds));
        assert!((0..10).all(|number| at(number) == Some(0)));
        assert!((10..1000).all(|number| at(number).is_none()));
        assert_eq!((at(1000), at(1001)), (Some(990), Some(0)));
    }
}

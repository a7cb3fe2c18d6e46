//! Pauses between two looks at a row that somebody else has locked.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(2);

/// Measures the pause between two looks: it doubles, from 2 ms to a longest one.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST }
    }
}

impl Backoff {
    /// The longest pause, where the caller has no reason for a longer one.
    pub const LONGEST: Duration = Duration::from_millis(64);

    /// Returns the length of this pause.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Doubles the pause, up to `longest`.
    pub fn double(&mut self, longest: Duration) {
        self.pause = longest.min(self.pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pauses.push(backoff.pause().as_millis());
            backoff.double(Backoff::LONGEST);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 64]);
    }
}

//! Whether more answers are about to come: a batch answers all its callers in one moment.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts the answers that lanes have given and whose callers have not run since.
///
/// Whoever is about to write one answer can see by it that there will be more in a moment.
#[derive(Debug, Clone, Default)]
pub struct Burst {
    answers: Arc<AtomicUsize>,
}

impl Burst {
    /// Tells whether more answers are about to come.
    pub fn goes_on(&self) -> bool {
        // The number is only a guide and orders no other memory.
        self.answers.load(Ordering::Relaxed) > 0
    }

    /// Counts one more answer, until the value is dropped.
    pub(crate) fn answer(&self) -> OnItsWay {
        self.answers.fetch_add(1, Ordering::Relaxed);
        OnItsWay { burst: self.clone() }
    }
}

/// Counts an answer as long as it is on its way to its caller.
#[derive(Debug)]
pub(crate) struct OnItsWay {
    burst: Burst,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.burst.answers.fetch_sub(1, Ordering::Relaxed);
    }
}

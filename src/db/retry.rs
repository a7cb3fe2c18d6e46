//! How often a transaction is run again, and after how long: the table in [`super`].

use std::{collections::HashMap, time::Duration};

use rand::RngExt;

use super::{Failure, FailureKind};
use crate::{error::Error, metrics};

const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LAST: Duration = Duration::from_millis(80);

/// Says what failures of one kind may cost.
struct Budget {
    /// How many more runs a transaction may have after its first.
    runs_again_max: u32,
    /// Makes the caller's error from the text of the failure that is one too many.
    error: fn(String) -> Error,
}

impl FailureKind {
    fn budget(self) -> Budget {
        let (runs_again_max, error): (u32, fn(String) -> Error) = match self {
            Self::Deadlock => (5, |_| Error::LockContention),
            Self::LockWait => (0, |_| Error::LockContention),
            Self::Away | Self::NoConnection | Self::Other => (3, Error::Unavailable),
            Self::TooLong => (1, Error::Unavailable),
            Self::Duplicate => (3, Error::Internal),
            Self::Check | Self::RowCount | Self::Denied | Self::Wrong => (0, Error::Internal),
            Self::PoolBusy => (0, |_| Error::Overloaded("no database connection came free in time")),
        };
        Budget { runs_again_max, error }
    }

    /// Returns the kind whose budget a failure of this kind uses up. A database that went away refuses connections
    /// next.
    fn counts_as(self) -> Self {
        if self == Self::NoConnection { Self::Away } else { self }
    }
}

/// Counts the retries of one transaction.
#[derive(Debug)]
pub(super) struct Retries {
    transaction: &'static str,
    runs_again: HashMap<FailureKind, u32>,
    /// 1 where an earlier run for the same callers may have committed, 0 otherwise.
    runs_before: u32,
    outcome_unknown: bool,
}

impl Retries {
    pub(super) fn new(transaction: &'static str, outcome_unknown: bool) -> Self {
        Self { transaction, runs_again: HashMap::new(), runs_before: u32::from(outcome_unknown), outcome_unknown }
    }

    /// Remembers that nobody knows whether the transaction has taken place, unless a later run succeeds.
    pub(super) fn remember_unknown_outcome(&mut self) {
        self.outcome_unknown = true;
    }

    /// Returns the number of runs so far, including those before the first run here.
    pub(super) fn attempt(&self) -> u32 {
        self.runs_before + self.runs_again.values().sum::<u32>()
    }

    /// Counts the failure. Returns after a pause where the transaction is to be run again, and otherwise with the
    /// error.
    pub(super) async fn wait_after(&mut self, failure: Failure) -> Result<(), Error> {
        let transaction = self.transaction;
        if matches!(failure.kind, FailureKind::Deadlock | FailureKind::LockWait) {
            metrics::count_lock_conflict(transaction, failure.name());
        }
        let pause = self.next_pause(&failure).map_err(|error| self.final_error(error))?;
        metrics::count_retry(transaction, failure.name());
        let jittered = rand::rng().random_range(pause / 2..=pause);
        tokio::time::sleep(jittered).await;
        Ok(())
    }

    /// Returns what the caller is told once the outcome is unknown. `error` would say that nothing has taken place.
    fn final_error(&self, error: Error) -> Error {
        if !self.outcome_unknown {
            return error;
        }
        Error::Unavailable(format!("the outcome of a commit is unknown, and a later run failed: {error}"))
    }

    /// Returns the longest pause before the next run, or the error where there is no next run.
    fn next_pause(&mut self, failure: &Failure) -> Result<Duration, Error> {
        let Budget { runs_again_max, error } = failure.kind.budget();
        let count = self.runs_again.entry(failure.kind.counts_as()).or_default();
        if *count >= runs_again_max {
            return Err(error(failure.text.clone()));
        }
        *count += 1;
        Ok(PAUSE_LAST.min(PAUSE_FIRST * 2_u32.pow(*count - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [FailureKind; 12] = [
        FailureKind::Deadlock,
        FailureKind::LockWait,
        FailureKind::Away,
        FailureKind::NoConnection,
        FailureKind::TooLong,
        FailureKind::Duplicate,
        FailureKind::Other,
        FailureKind::Denied,
        FailureKind::Wrong,
        FailureKind::Check,
        FailureKind::RowCount,
        FailureKind::PoolBusy,
    ];

    fn failure(kind: FailureKind) -> Failure {
        Failure { kind, text: "text".to_owned() }
    }

    #[test]
    fn each_kind_has_its_own_bound_and_error() {
        let internal = || Error::Internal("text".to_owned());
        for (kind, runs_again, error) in [
            (FailureKind::Deadlock, 5, Error::LockContention),
            (FailureKind::LockWait, 0, Error::LockContention),
            (FailureKind::Away, 3, Error::Unavailable("text".to_owned())),
            (FailureKind::NoConnection, 3, Error::Unavailable("text".to_owned())),
            (FailureKind::TooLong, 1, Error::Unavailable("text".to_owned())),
            (FailureKind::Duplicate, 3, internal()),
            (FailureKind::Other, 3, Error::Unavailable("text".to_owned())),
            (FailureKind::Denied, 0, internal()),
            (FailureKind::Wrong, 0, internal()),
            (FailureKind::Check, 0, internal()),
            (FailureKind::RowCount, 0, internal()),
            (FailureKind::PoolBusy, 0, Error::Overloaded("no database connection came free in time")),
        ] {
            let mut retries = Retries::new("test", false);
            for run in 0..runs_again {
                assert_eq!(retries.attempt(), run);
                assert!(retries.next_pause(&failure(kind)).is_ok(), "{kind:?} {run}");
            }
            assert_eq!(retries.next_pause(&failure(kind)), Err(error), "{kind:?}");
        }
    }

    #[test]
    fn what_is_run_again_is_counted_from_0() {
        let again = KINDS.into_iter().filter(|kind| kind.budget().runs_again_max > 0);
        let names: Vec<&str> = again.map(|kind| failure(kind).name()).collect();
        assert_eq!(names, metrics::RETRY_REASONS);
    }

    #[tokio::test]
    async fn whatever_fails_after_an_unknown_outcome_is_unavailable() {
        for kind in KINDS {
            let mut retries = Retries::new("test", false);
            retries.remember_unknown_outcome();
            let error = loop {
                if let Err(error) = retries.wait_after(failure(kind)).await {
                    break error;
                }
            };
            assert!(matches!(error, Error::Unavailable(_)), "{kind:?}: {error:?}");
        }
    }

    #[test]
    fn pauses_double_from_5_to_80_ms() {
        let mut retries = Retries::new("test", false);
        let pauses: Vec<u128> =
            (0..5).map(|_| retries.next_pause(&failure(FailureKind::Deadlock)).unwrap().as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80]);
    }
}

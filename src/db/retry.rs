//! How often a transaction is run again, and after how long: the table in [`super`].

use std::time::Duration;

use rand::RngExt;

use super::{Failure, FailureKind};
use crate::error::Error;

const DEADLOCKS_MAX: u32 = 5;
const AWAYS_MAX: u32 = 3;
const TOO_LONGS_MAX: u32 = 1;
const DUPLICATES_MAX: u32 = 3;
const OTHERS_MAX: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LAST: Duration = Duration::from_millis(80);

/// The retries of one transaction.
#[derive(Debug)]
pub(super) struct Retries {
    transaction: &'static str,
    deadlocks: u32,
    aways: u32,
    too_longs: u32,
    duplicates: u32,
    others: u32,
    /// 1 where a run in the name of the same callers may have committed before.
    runs_before: u32,
    outcome_unknown: bool,
}

impl Retries {
    pub(super) fn new(transaction: &'static str, outcome_unknown: bool) -> Self {
        Self {
            transaction,
            deadlocks: 0,
            aways: 0,
            too_longs: 0,
            duplicates: 0,
            others: 0,
            runs_before: u32::from(outcome_unknown),
            outcome_unknown,
        }
    }

    /// From now on nobody knows whether the transaction has taken place, unless a run succeeds.
    pub(super) fn remember_unknown_outcome(&mut self) {
        self.outcome_unknown = true;
    }

    /// Runs so far, those before the first one here among them.
    pub(super) fn attempt(&self) -> u32 {
        self.runs_before + self.deadlocks + self.aways + self.too_longs + self.duplicates + self.others
    }

    /// Counts the failure. Returns after a pause where the transaction is to be run again, and else with the error.
    pub(super) async fn wait_after(&mut self, failure: Failure) -> Result<(), Error> {
        let transaction = self.transaction;
        if matches!(failure.kind, FailureKind::Deadlock | FailureKind::LockWait) {
            let (kind, name) = (failure.name(), crate::metric_names::LOCK_CONFLICTS);
            metrics::counter!(name, "kind" => kind, "transaction" => transaction).increment(1);
        }
        let pause = self.next_pause(&failure).map_err(|error| self.final_error(error))?;
        let (reason, name) = (failure.name(), crate::metric_names::TRANSACTION_RETRIES);
        metrics::counter!(name, "transaction" => transaction, "reason" => reason).increment(1);
        let jittered = rand::rng().random_range(pause / 2..=pause);
        tokio::time::sleep(jittered).await;
        Ok(())
    }

    /// What the caller is told instead of `error`, which would say that nothing has taken place.
    fn final_error(&self, error: Error) -> Error {
        if !self.outcome_unknown {
            return error;
        }
        Error::Unavailable(format!("the outcome of a commit is unknown, and a later run failed: {error}"))
    }

    /// The longest pause before the next run, or the error where there is none.
    fn next_pause(&mut self, failure: &Failure) -> Result<Duration, Error> {
        let text = || failure.text.clone();
        let (count, max, error) = match failure.kind {
            FailureKind::Deadlock => (&mut self.deadlocks, DEADLOCKS_MAX, Error::LockContention),
            FailureKind::LockWait => return Err(Error::LockContention),
            FailureKind::Away | FailureKind::NoConnection => (&mut self.aways, AWAYS_MAX, Error::Unavailable(text())),
            FailureKind::TooLong => (&mut self.too_longs, TOO_LONGS_MAX, Error::Unavailable(text())),
            FailureKind::Duplicate => (&mut self.duplicates, DUPLICATES_MAX, Error::Internal(text())),
            FailureKind::Other => (&mut self.others, OTHERS_MAX, Error::Unavailable(text())),
            FailureKind::Check | FailureKind::RowCount | FailureKind::Wrong => return Err(Error::Internal(text())),
            FailureKind::PoolBusy => {
                return Err(Error::Overloaded("no database connection came free in time"));
            }
        };
        if *count >= max {
            return Err(error);
        }
        *count += 1;
        Ok(PAUSE_LAST.min(PAUSE_FIRST * 2_u32.pow(*count - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn whatever_fails_after_an_unknown_outcome_is_unavailable() {
        use FailureKind::*;
        for kind in
            [Deadlock, LockWait, Away, NoConnection, TooLong, Duplicate, Other, Wrong, Check, RowCount, PoolBusy]
        {
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

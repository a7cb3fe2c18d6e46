//! Which failed calls are repeated, when, and how often.
//!
//! | the attempt | is repeated |
//! |---|---|
//! | never reached the server | at once, three times; then as the next row |
//! | found no connection | at once at an address that this call has not tried; else after a rest |
//! | broke on the way, or was refused with UNAVAILABLE or OVERLOADED | after a rest, and not before the server's RetryInfo |
//! | ran out of time, was refused for good, or got an answer that the service never gives | never |
//!
//! A rest is a random part of 100 ms, 200 ms, 400 ms… up to 2 s, so that callers who failed together don't come back
//! together. A rest that would end after the deadline isn't begun: the caller gets the last error at once. Repeats after
//! a rest take from the budget that all calls of a client share, so that callers don't add to an outage.

use std::{fmt, time::Duration};

use tower::retry::budget::{Budget as _, TpsBudget};

use crate::{error::CallError, refusal::Refused};

/// Limits the repeats at once of a call that never reached the server.
const AT_ONCE_MAX: u32 = 3;
/// Limits the repeats of one call after a rest.
const RESTS_MAX: u32 = 20;
/// Bounds the first rest. Each next one may be twice as long.
const FIRST_REST_MAX: Duration = Duration::from_millis(100);
/// Bounds every rest.
const REST_MAX: Duration = Duration::from_secs(2);

/// Says for how long the budget remembers a call.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Says how many repeats a second are always allowed, whatever the number of calls.
const REPEATS_PER_SECOND_MIN: u32 = 10;
/// Says how many more repeats there may be for each call of the window.
const REPEATS_PER_CALL_MAX: f32 = 0.2;

/// Says which calls a client repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Whatever may succeed at another time or another address. Each wish has a request id.
    Temporary,
    /// Only what surely never reached a server, and at once. For programs whose own callers repeat, such as a gateway.
    NotSent,
}

/// Limits the repeats of all calls of a client together.
pub(crate) struct Budget(TpsBudget);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(TpsBudget::new(BUDGET_WINDOW, REPEATS_PER_SECOND_MIN, REPEATS_PER_CALL_MAX))
    }

    /// Counts a call, which allows for more repeats.
    pub(crate) fn count_call(&self) {
        self.0.deposit();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Decides on the repeats of one call.
#[derive(Debug)]
pub(crate) struct Repeats {
    repeat: Repeat,
    at_once: u32,
    rests: u32,
}

impl Repeats {
    pub(crate) fn new(repeat: Repeat) -> Self {
        Self { repeat, at_once: 0, rests: 0 }
    }

    /// Returns how long to rest before the next attempt. `None`: the error is the call's answer.
    ///
    /// `elsewhere` says that there is an address which serves and which this call has not tried.
    pub(crate) fn rest(&mut self, error: &CallError, elsewhere: bool, budget: &Budget) -> Option<Duration> {
        let retry_after = match error {
            CallError::NotSent(_) => {
                let may_help = elsewhere || !error.had_no_connection();
                if may_help && self.at_once < AT_ONCE_MAX {
                    self.at_once += 1;
                    return Some(Duration::ZERO);
                }
                Duration::ZERO
            }
            CallError::Broken(_) => Duration::ZERO,
            CallError::Refused(refused) if refused.refusal().is_temporary() => retry_after(refused),
            CallError::Refused(_) | CallError::TimedOut | CallError::Unexplained(_) => return None,
        };
        if self.repeat == Repeat::NotSent || self.rests == RESTS_MAX || !budget.0.withdraw() {
            return None;
        }
        let longest = FIRST_REST_MAX.saturating_mul(2_u32.saturating_pow(self.rests)).min(REST_MAX);
        self.rests += 1;
        Some(retry_after.saturating_add(longest.mul_f64(rand::random::<f64>())))
    }
}

fn retry_after(refused: &Refused) -> Duration {
    refused.retry_after().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::{Code, ConnectError, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn refused(reason: &str, retry_after: Option<Duration>) -> CallError {
        let mut details = ErrorDetails::with_error_info(reason, "flashsale", HashMap::new());
        details.set_retry_info(retry_after);
        Status::with_error_details(Code::Unavailable, "text", details).into()
    }

    fn no_connection() -> CallError {
        Status::from_error(Box::new(ConnectError("connection refused".into()))).into()
    }

    fn broken() -> CallError {
        Status::unavailable("upstream connect error").into()
    }

    #[test]
    fn a_refusal_for_good_and_a_deadline_are_never_repeated() {
        let budget = Budget::new();
        for error in [
            refused("OUT_OF_STOCK", None),
            refused("DEADLINE_EXCEEDED", None),
            refused("INTERNAL", None),
            CallError::TimedOut,
            Status::not_found("by something else").into(),
        ] {
            assert_eq!(Repeats::new(Repeat::Temporary).rest(&error, true, &budget), None, "{error:?}");
        }
    }

    #[test]
    fn nobody_comes_back_before_the_server_wants_it() {
        let (budget, wish) = (Budget::new(), Duration::from_millis(500));
        for reason in ["OVERLOADED", "LOCK_CONTENTION", "DATABASE_UNAVAILABLE"] {
            let mut repeats = Repeats::new(Repeat::Temporary);
            for longest in [100, 200, 400, 800] {
                let rest = repeats.rest(&refused(reason, Some(wish)), false, &budget).unwrap();
                assert!(rest >= wish && rest <= wish + Duration::from_millis(longest), "{reason}: {rest:?}");
            }
        }
    }

    #[test]
    fn rests_grow_up_to_two_seconds_and_end() {
        let mut repeats = Repeats::new(Repeat::Temporary);
        let rests: Vec<Duration> = std::iter::from_fn(|| repeats.rest(&broken(), false, &Budget::new())).collect();
        assert_eq!(rests.len(), usize::try_from(RESTS_MAX).unwrap());
        assert!(rests[0] <= FIRST_REST_MAX && rests.iter().all(|rest| *rest <= REST_MAX), "{rests:?}");
        assert!(rests.iter().any(|rest| *rest > FIRST_REST_MAX), "{rests:?}");
    }

    #[test]
    fn without_a_connection_only_another_address_is_tried_at_once() {
        let budget = Budget::new();
        let mut repeats = Repeats::new(Repeat::NotSent);
        assert_eq!(repeats.rest(&no_connection(), false, &budget), None);
        for _ in 0..AT_ONCE_MAX {
            assert_eq!(repeats.rest(&no_connection(), true, &budget), Some(Duration::ZERO));
        }
        assert_eq!(repeats.rest(&no_connection(), true, &budget), None);
        assert_eq!(Repeats::new(Repeat::NotSent).rest(&broken(), true, &budget), None);
    }

    #[test]
    fn the_budget_ends_the_repeats_of_all_calls_and_grows_with_calls() {
        let budget = Budget::new();
        let repeated = |budget: &Budget| Repeats::new(Repeat::Temporary).rest(&broken(), false, budget).is_some();
        let allowed = (0..1000).filter(|_| repeated(&budget)).count();
        assert_eq!(allowed, 100, "ten a second, for the ten seconds of the window");
        assert!(!repeated(&budget));
        (0..5).for_each(|_| budget.count_call());
        assert!(repeated(&budget) && !repeated(&budget), "one for five calls");
        // What never reached a server has cost it nothing.
        assert_eq!(Repeats::new(Repeat::Temporary).rest(&no_connection(), true, &budget), Some(Duration::ZERO));
    }
}

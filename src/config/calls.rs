//! The settings of calls: how many at once, and how many a second.

use std::num::NonZeroU32;

use clap::Args;

use super::value;
use crate::shares::CallLimits;

/// Limits the calls under way.
const CALLS_MAX: usize = 1_000_000;
/// Limits the calls a second of one caller.
const CALL_RATE_MAX: u32 = 1_000_000;

#[derive(Args)]
pub(super) struct CallArgs {
    /// The most calls under way in all, 1 to 1000000; one caller has at most half. One more is told to try again later.
    #[arg(long, env = "FLASHSALE_MAX_CALLS", value_name = "CALLS", default_value = "16384", value_parser = value::count(CALLS_MAX))]
    max_calls: usize,
    /// The most calls a second of one caller, 1 to 1000000; 0: without limit.
    #[arg(long, env = "FLASHSALE_MAX_CALL_RATE", value_name = "CALLS", default_value = "0", value_parser = call_rate)]
    max_call_rate: u32,
}

impl CallArgs {
    pub(super) fn limits(&self) -> CallLimits {
        CallLimits { calls_max: self.max_calls, rate_max: NonZeroU32::new(self.max_call_rate) }
    }
}

fn call_rate(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(rate) if rate <= CALL_RATE_MAX => Ok(rate),
        _ => Err(format!("expected a whole number from 1 to {CALL_RATE_MAX}, or 0")),
    }
}

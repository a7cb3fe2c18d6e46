//! Shares: how much of what is scarce one caller may have.
//!
//! A caller may take one more place only while fewer are his than are free. So one caller alone gets half of all places,
//! two get a third each, and there is always room for somebody else. The server shares out its calls under way like this,
//! and each lane its queue.

mod asker;
mod rate;
mod tally;

use std::num::NonZeroU32;

pub use asker::{CallerId, asking, on_behalf_of};
pub use rate::Rate;
pub use tally::Tally;

/// Limits the calls under way that no setting limits.
const CALLS_MAX: usize = 16_384;

/// Says how many calls may be under way, and how many a caller may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// The most calls under way in all, at least 1. One caller has at most half of them.
    pub calls_max: usize,
    /// The most calls a second of one caller. `None`: without limit.
    pub rate_max: Option<NonZeroU32>,
}

impl Default for CallLimits {
    /// Returns 16,384 calls under way, at any rate.
    fn default() -> Self {
        Self { calls_max: CALLS_MAX, rate_max: None }
    }
}

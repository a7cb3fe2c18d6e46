//! Restarts programs behind load balancers, one after the other, while callers call: no call may be lost.
//!
//! cargo runs one test binary at a time. These tests are a binary of their own, and take turns in it, so that no other test
//! takes the time that a call may take.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed; clippy knows #[test] functions only, not their helpers"
)]

use flashsale_test_support as support;

mod balancer;
mod behind_balancers;
mod load;
mod renewals;
mod restarts;
mod room;
mod stopping;

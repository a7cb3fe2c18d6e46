//! The suite: every test talks to a real database and, where it calls the service, to a real server over a connection.
//!
//! One binary, so that all tests share one private database server, in which each has a database of its own.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed; clippy knows #[test] functions only, not their helpers"
)]

mod borders;
mod harness;
#[expect(dead_code, reason = "what the first tests of the service will use; to be removed with them")]
mod support;

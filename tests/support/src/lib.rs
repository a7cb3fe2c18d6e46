//! Shares between the tests and the benchmark what both need: private databases, the programs, calls and checks.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and a benchmark has nothing to report")]

pub mod admin;
pub mod at_once;
pub mod audit;
pub mod authority;
pub mod client;
pub mod conservation;
pub mod counted;
pub mod database;
pub mod examples;
mod install;
pub mod mysqld;
pub mod node;
pub mod place;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod python;
pub mod sale;
pub mod server;
pub mod signal;
pub mod wait;
pub mod wire;

//! Runs the real programs: how they start, what they log and count, and how they end.

mod logs;
mod server;
mod stalled_log;
mod sweeper;

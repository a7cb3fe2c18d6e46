//! Counts the connections of the process, for its metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the connections of the listeners that take calls: gRPC in the server, HTTP in the gateway.
pub static CALLS: Counts = Counts::new();
/// Counts the connections of the metrics address.
pub static METRICS: Counts = Counts::new();

/// Counts connections that are open, and those that found no room.
#[derive(Debug)]
pub struct Counts {
    open: AtomicUsize,
    refused: AtomicU64,
}

impl Counts {
    const fn new() -> Self {
        Self { open: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// Returns how many connections are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns how many connections were closed at once since the process started.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection as open until the value is dropped.
    pub(super) fn enter(&'static self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }
}

/// Is one open connection.
#[derive(Debug)]
pub(super) struct Open(&'static Counts);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

//! The order in which a sweep takes the rows whose time is over: the oldest first, and by id where two are as old.
//!
//! A sweep goes on after the last row that it looked at, whatever became of that row. So it looks at each row once, and
//! it also ends where rows have to be left out. It doesn't read again the index entries that it has just left behind,
//! which the database clears away some time later.

use std::time::SystemTime;

use crate::domain::ProductId;

/// Names the rows that a batch of a sweep takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepScope {
    /// Rows of any product. The batch waits for no lock.
    AllProducts,
    /// Rows of one product. The batch waits for that product's row.
    Product(ProductId),
}

/// Says how far a sweep has come: up to and including this row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepPosition {
    /// When the row's time was over.
    pub at: SystemTime,
    /// The row's id.
    pub id: i64,
}

impl From<SystemTime> for SweepPosition {
    /// Returns the place before every row whose time is over at this moment or later.
    fn from(at: SystemTime) -> Self {
        Self { at, id: 0 }
    }
}

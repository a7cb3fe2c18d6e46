//! What a sweep goes by: rows whose time is over, in the order of that time and of their ids.
//!
//! A sweep goes on from the last row that it looked at, whatever became of that row. So it looks at each row once, ends
//! also where rows have to be left out, and doesn't read the index entries again that it has just left behind, which the
//! database clears away some time later.

use std::time::SystemTime;

use crate::domain::ProductId;

/// Names the rows that a batch of a sweep takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Rows of any product. The batch waits for no lock.
    AllProducts,
    /// Rows of one product. The batch waits for that product's row.
    Product(ProductId),
}

/// Says how far a sweep has come: up to and with this row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When the row's time was over.
    pub at: SystemTime,
    /// The row's id.
    pub id: i64,
}

impl From<SystemTime> for Place {
    /// The place before every row whose time is over at this moment.
    fn from(at: SystemTime) -> Self {
        Self { at, id: 0 }
    }
}

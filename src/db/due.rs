//! What a sweep goes by: rows whose time is over, in the order of that time and of their ids.
//!
//! A sweep goes on from the last row that it looked at, whatever became of that row. So it looks at each row once, ends
//! also where rows have to be left out, and doesn't read the index entries again that it has just left behind, which the
//! database clears away some time later.

use std::time::SystemTime;

use super::statement::{MOMENT, Statement};
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

/// Tells where a table has its rows that are due.
pub(super) struct Due {
    /// The columns to select and the table: `SELECT … FROM …`.
    pub(super) select: &'static str,
    /// The status of a row that may be due.
    pub(super) status: &'static str,
    /// The column with the time.
    pub(super) column: &'static str,
    /// The index on status and time.
    pub(super) index: &'static str,
    /// The index on product, status and time.
    pub(super) index_of_product: &'static str,
}

impl Due {
    /// Locks up to `limit` due rows after `since` that nobody else has locked. Those skipped are left to the next sweep.
    pub(super) fn lock(&self, of: Of, since: Place, limit: usize) -> Statement {
        let Self { select, status, column, index, index_of_product } = self;
        let (index, product) = match of {
            Of::AllProducts => (index, ""),
            Of::Product(_) => (index_of_product, "product_id = ? AND "),
        };
        let text = format!(
            "{select} FORCE INDEX ({index}) WHERE {product}status = '{status}' AND {column} >= {MOMENT} \
            AND ({column} > {MOMENT} OR id > ?) AND {column} < UTC_TIMESTAMP(6) \
            ORDER BY {column}, id LIMIT ? FOR UPDATE SKIP LOCKED"
        );
        let statement = Statement::new(&text);
        let statement = match of {
            Of::AllProducts => statement,
            Of::Product(id) => statement.integer(id.get()),
        };
        let limit = limit.try_into().unwrap_or(i64::MAX);
        statement.moment(since.at).moment(since.at).integer(since.id).integer(limit)
    }
}

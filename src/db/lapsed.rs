//! What a product has past its time and not yet taken back: its expired holds and its overdue orders.

use diesel::{QueryableByName, sql_types::BigInt};

use super::{Connection, Failure, holds, orders, statement::Statement};
use crate::domain::{LapsedUnits, ProductId};

/// SQL of the columns of [`LapsedRow`], by the indexes that begin with the product. Its values are the product, twice.
/// Part of a statement that reads the product, it is of the same moment: units that a sweep moves from a hold to the
/// product in between would be seen twice or not at all by two statements.
pub(super) fn columns() -> String {
    format!(
        "(SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM {} \
            WHERE product_id = ? AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)) AS lapsed_held, \
        (SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM {} \
            WHERE product_id = ? AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)) AS lapsed_ordered",
        holds::BY_PRODUCT_AND_EXPIRY,
        orders::BY_PRODUCT_AND_DUE,
    )
}

#[derive(QueryableByName)]
pub(super) struct LapsedRow {
    #[diesel(sql_type = BigInt)]
    lapsed_held: i64,
    #[diesel(sql_type = BigInt)]
    lapsed_ordered: i64,
}

impl From<LapsedRow> for LapsedUnits {
    fn from(row: LapsedRow) -> Self {
        Self { held: row.lapsed_held, ordered: row.lapsed_ordered }
    }
}

/// Reads the units of a product's expired holds and overdue orders, without a lock. They are of the same moment as the
/// product where the caller has locked that: whoever gives units back has to wait for it.
pub async fn read(conn: &mut Connection, id: ProductId) -> Result<LapsedUnits, Failure> {
    let statement = Statement::new(&format!("SELECT {}", columns())).integer(id.get()).integer(id.get());
    let rows: Vec<LapsedRow> = statement.rows(conn).await?;
    Ok(rows.into_iter().next().map(LapsedUnits::from).unwrap_or_default())
}

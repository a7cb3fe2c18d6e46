//! The units of a product whose time is over and that nobody has taken back yet: in expired holds and overdue orders.

use diesel::{QueryableByName, sql_types::BigInt};

use super::{Connection, Failure, holds, orders, statement::Statement};
use crate::domain::{LapsedUnits, ProductId};

/// Writes the columns of [`LapsedRow`] for a SELECT, read by the indexes that begin with the product.
///
/// The values are the product, twice. In a statement that reads the product as well, all of it is of one moment. Two
/// statements would see twice, or not at all, the units that a sweep moves from a hold to the product in between.
pub(super) fn columns(product_id: &str) -> String {
    format!(
        "(SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM {} \
            WHERE product_id = {product_id} AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)) AS lapsed_held, \
        (SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM {} \
            WHERE product_id = {product_id} AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)) AS lapsed_ordered",
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

/// Reads the units of a product's expired holds and overdue orders, without a lock.
///
/// Where the caller has locked the product, they are of the same moment as the product: whoever gives units back has to
/// wait for the lock.
pub async fn read(conn: &mut Connection, id: ProductId) -> Result<LapsedUnits, Failure> {
    let statement = Statement::new(&format!("SELECT {}", columns("?"))).integer(id.get()).integer(id.get());
    let rows: Vec<LapsedRow> = statement.rows(conn).await?;
    Ok(rows.into_iter().next().map(LapsedUnits::from).unwrap_or_default())
}

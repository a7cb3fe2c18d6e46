//! The books of one product, from three tables.

use diesel::{QueryableByName, sql_types::BigInt};

use super::{Connection, Failure, lapsed, statement::Statement};
use crate::domain::{LapsedUnits, ProductId, SaleStats};

/// Reads the books in one statement, so that all numbers are from one snapshot.
///
/// Under READ COMMITTED each statement sees another moment. Rows are counted from the indexes that begin with the
/// product. Only rows that still take units are read themselves.
const SELECT: &str = "SELECT total_stock, available_stock, \
        CAST(COALESCE(held_stock, 0) AS SIGNED) AS held_stock, \
        CAST(COALESCE(lapsed_held, 0) AS SIGNED) AS lapsed_held, \
        CAST(COALESCE(lapsed_holds, 0) AS SIGNED) AS lapsed_holds, \
        CAST(COALESCE(pending_stock, 0) AS SIGNED) AS pending_stock, \
        CAST(COALESCE(lapsed_ordered, 0) AS SIGNED) AS lapsed_ordered, \
        (SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM orders FORCE INDEX (orders_product_due) \
            WHERE product_id = ? AND status = 'paid') AS paid_stock, \
        CAST(COALESCE(holds_active, 0) AS SIGNED) AS holds_active, \
        CAST(COALESCE(holds_used, 0) AS SIGNED) AS holds_used, \
        CAST(COALESCE(holds_expired, 0) AS SIGNED) AS holds_expired, \
        CAST(COALESCE(holds_cancelled, 0) AS SIGNED) AS holds_cancelled, \
        CAST(COALESCE(orders_pending, 0) AS SIGNED) AS orders_pending, \
        CAST(COALESCE(orders_paid, 0) AS SIGNED) AS orders_paid, \
        CAST(COALESCE(orders_cancelled, 0) AS SIGNED) AS orders_cancelled \
    FROM products \
    JOIN (SELECT SUM(qty) AS held_stock, SUM(IF(expires_at < UTC_TIMESTAMP(6), qty, 0)) AS lapsed_held, \
            SUM(expires_at < UTC_TIMESTAMP(6)) AS lapsed_holds \
            FROM holds FORCE INDEX (holds_product_expiry) WHERE product_id = ? AND status = 'active') AS active_holds \
    JOIN (SELECT SUM(qty) AS pending_stock, SUM(IF(payment_due_at < UTC_TIMESTAMP(6), qty, 0)) AS lapsed_ordered \
            FROM orders FORCE INDEX (orders_product_due) WHERE product_id = ? AND status = 'pending') AS pending_orders \
    JOIN (SELECT SUM(status = 'active') AS holds_active, SUM(status = 'used') AS holds_used, \
            SUM(status = 'expired') AS holds_expired, SUM(status = 'cancelled') AS holds_cancelled \
            FROM holds FORCE INDEX (holds_product_expiry) WHERE product_id = ?) AS hold_counts \
    JOIN (SELECT SUM(status = 'pending') AS orders_pending, SUM(status = 'paid') AS orders_paid, \
            SUM(status = 'cancelled') AS orders_cancelled \
            FROM orders FORCE INDEX (orders_product_due) WHERE product_id = ?) AS order_counts \
    WHERE products.id = ?";

#[derive(QueryableByName)]
struct BooksRow {
    #[diesel(sql_type = BigInt)]
    total_stock: i64,
    #[diesel(sql_type = BigInt)]
    available_stock: i64,
    #[diesel(sql_type = BigInt)]
    held_stock: i64,
    #[diesel(sql_type = BigInt)]
    lapsed_holds: i64,
    #[diesel(embed)]
    lapsed: lapsed::LapsedRow,
    #[diesel(sql_type = BigInt)]
    pending_stock: i64,
    #[diesel(sql_type = BigInt)]
    paid_stock: i64,
    #[diesel(sql_type = BigInt)]
    holds_active: i64,
    #[diesel(sql_type = BigInt)]
    holds_used: i64,
    #[diesel(sql_type = BigInt)]
    holds_expired: i64,
    #[diesel(sql_type = BigInt)]
    holds_cancelled: i64,
    #[diesel(sql_type = BigInt)]
    orders_pending: i64,
    #[diesel(sql_type = BigInt)]
    orders_paid: i64,
    #[diesel(sql_type = BigInt)]
    orders_cancelled: i64,
}

/// Holds a product's books as they are stored, and the part of them that is past its time.
#[derive(Debug, Clone, Copy)]
pub struct Books {
    /// The books by the status of the rows, whatever their time.
    pub stored: SaleStats,
    /// Units in expired holds and overdue orders that nobody has taken back yet.
    pub lapsed: LapsedUnits,
    /// The number of expired holds that nobody has taken back yet.
    pub lapsed_holds: i64,
}

impl From<BooksRow> for Books {
    fn from(row: BooksRow) -> Self {
        let stored = SaleStats {
            total_stock: row.total_stock,
            available_stock: row.available_stock,
            held_stock: row.held_stock,
            pending_stock: row.pending_stock,
            paid_stock: row.paid_stock,
            holds_active: row.holds_active,
            holds_used: row.holds_used,
            holds_expired: row.holds_expired,
            holds_cancelled: row.holds_cancelled,
            orders_pending: row.orders_pending,
            orders_paid: row.orders_paid,
            orders_cancelled: row.orders_cancelled,
        };
        Self { stored, lapsed: row.lapsed.into(), lapsed_holds: row.lapsed_holds }
    }
}

/// Counts a product's units, holds and orders at one moment, without a lock.
pub async fn read(conn: &mut Connection, id: ProductId) -> Result<Option<Books>, Failure> {
    let mut statement = Statement::new(SELECT);
    for _ in 0..SELECT.matches('?').count() {
        statement = statement.integer(id.get());
    }
    let rows: Vec<BooksRow> = statement.rows(conn).await?;
    Ok(rows.into_iter().next().map(Books::from))
}

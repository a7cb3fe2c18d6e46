//! Table `stock_adjustments`: every change of a product's total by an operator.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Text},
};

use super::{
    Connection, Failure, Script,
    statement::{Statement, bytes},
};
use crate::domain::{Product, ProductId, Remark, RequestId, StockDelta};

/// An adjustment that was made, with the product's stock just after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAdjustment {
    /// The units added or taken away.
    pub delta: StockDelta,
    /// Why.
    pub reason: Remark,
    /// Units on sale after it.
    pub total_stock: i64,
    /// Units that could be held after it.
    pub available_stock: i64,
}

/// Reads the adjustment that this request made of this product, by the unique key on both. The caller has locked the
/// product.
pub async fn made_by(
    conn: &mut Connection,
    product_id: ProductId,
    request_id: &RequestId,
) -> Result<Option<StoredAdjustment>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        delta: i64,
        #[diesel(sql_type = Text)]
        reason: String,
        #[diesel(sql_type = BigInt)]
        total_stock: i64,
        #[diesel(sql_type = BigInt)]
        available_stock: i64,
    }
    let text = "SELECT delta, reason, total_stock, available_stock FROM stock_adjustments \
        WHERE product_id = ? AND request_id = ?";
    let statement = Statement::new(text).integer(product_id.get()).bytes(request_id.as_bytes());
    let rows: Vec<Row> = statement.rows(conn).await?;
    Ok(rows.into_iter().next().map(|row| StoredAdjustment {
        delta: StockDelta::stored(row.delta),
        reason: Remark::stored(row.reason),
        total_stock: row.total_stock,
        available_stock: row.available_stock,
    }))
}

/// Writes down an adjustment. `product` is as it is after it.
pub fn insert(script: &mut Script, product: &Product, delta: StockDelta, reason: &Remark, request_id: &RequestId) {
    let row = format!(
        "({},{},_utf8mb4 {},{},{},{},UTC_TIMESTAMP(6))",
        product.id,
        delta.get(),
        bytes(reason.as_str().as_bytes()),
        bytes(request_id.as_bytes()),
        product.total_stock,
        product.available_stock,
    );
    let into = "stock_adjustments (product_id,delta,reason,request_id,total_stock,available_stock,created_at)";
    script.insert(into, std::iter::once(row));
}

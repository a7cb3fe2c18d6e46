//! Table `stock_adjustments`: every change of a product's total by an operator.

use diesel::{ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper, mysql::Mysql};

use super::{
    Connection, Failure, Script,
    read::{read, statement_time},
    schema::stock_adjustments,
};
use crate::domain::{Product, ProductId, Remark, RequestId, StockDelta};

/// Describes an adjustment that was made, with the product's stock just after it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = stock_adjustments, check_for_backend(Mysql))]
pub struct StoredAdjustment {
    /// The units added or taken away.
    pub delta: StockDelta,
    /// Why the operator made it.
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
    let query = stock_adjustments::table
        .filter(stock_adjustments::product_id.eq(product_id.get()))
        .filter(stock_adjustments::request_id.eq(request_id.as_bytes()))
        .select(StoredAdjustment::as_select());
    Ok(read(query).first(conn).await?)
}

/// Stores an adjustment. `product` has the stock that it has after the adjustment.
pub fn insert(script: &mut Script, product: &Product, delta: StockDelta, reason: &Remark, request_id: &RequestId) {
    let row = (
        stock_adjustments::product_id.eq(product.id.get()),
        stock_adjustments::delta.eq(delta.get()),
        stock_adjustments::reason.eq(reason.as_str()),
        stock_adjustments::request_id.eq(request_id.as_bytes()),
        stock_adjustments::total_stock.eq(product.total_stock),
        stock_adjustments::available_stock.eq(product.available_stock),
        stock_adjustments::created_at.eq(statement_time()),
    );
    script.insert(diesel::insert_into(stock_adjustments::table).values(row));
}

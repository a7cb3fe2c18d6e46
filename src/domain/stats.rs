//! Where a product's units are, and how many holds and orders it has.

/// The books of one product at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleStats {
    /// Units put on sale.
    pub total_stock: i64,
    /// Units that can be held.
    pub available_stock: i64,
    /// Units in active holds.
    pub held_stock: i64,
    /// Units in pending orders.
    pub pending_stock: i64,
    /// Units in paid orders.
    pub paid_stock: i64,
    /// Active holds, also those past their time whose units have not come back yet.
    pub holds_active: i64,
    /// Holds whose order is pending or paid.
    pub holds_used: i64,
    /// Holds whose time ran out.
    pub holds_expired: i64,
    /// Holds that were released, or whose order was cancelled.
    pub holds_cancelled: i64,
    /// Orders not paid yet.
    pub orders_pending: i64,
    /// Orders paid.
    pub orders_paid: i64,
    /// Orders cancelled.
    pub orders_cancelled: i64,
}

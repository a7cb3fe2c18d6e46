//! Why a well-formed request was not done.

use std::time::SystemTime;

use super::ids::{HoldId, OrderId, ProductId};

/// A refusal by the sale's rules, with what a caller needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer units are available than requested.
    OutOfStock {
        /// The product.
        product_id: ProductId,
        /// Units asked for.
        requested: i64,
        /// Units there were.
        available_stock: i64,
    },
    /// The sale begins later.
    SaleNotStarted {
        /// When it begins.
        starts_at: SystemTime,
    },
    /// The sale is over.
    SaleEnded,
    /// The operator paused the sale.
    SalePaused,
    /// The buyer would have more units than one buyer may.
    BuyerLimit {
        /// Units that one buyer may have.
        limit: i32,
        /// Units that this buyer has.
        already_taken: i64,
    },
    /// The hold's time is over.
    HoldExpired {
        /// The hold.
        hold_id: HoldId,
    },
    /// The hold was given back.
    HoldCancelled {
        /// The hold.
        hold_id: HoldId,
    },
    /// The hold made an order, whatever became of that.
    HoldUsed {
        /// The hold.
        hold_id: HoldId,
        /// Its order.
        order_id: OrderId,
    },
    /// The request_id was sent before with other arguments.
    RequestIdReused,
    /// The idempotency_key was sent before for another order.
    IdempotencyKeyReused,
}

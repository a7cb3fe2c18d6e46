//! Why a well-formed request was not done.

use std::time::SystemTime;

use super::ids::{HoldId, OrderId, ProductId};

/// Says which rule of the sale refused a request, with what a caller needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer units are available than requested.
    OutOfStock {
        /// The product's id.
        product_id: ProductId,
        /// Units asked for.
        requested: i64,
        /// Units that were available.
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
    /// The buyer would have more units than the product's limit for one buyer.
    BuyerLimit {
        /// Units that one buyer may have.
        limit: i32,
        /// Units that this buyer has.
        already_taken: i64,
    },
    /// The hold's time is over.
    HoldExpired {
        /// The hold's id.
        hold_id: HoldId,
    },
    /// The hold was given back.
    HoldCancelled {
        /// The hold's id.
        hold_id: HoldId,
    },
    /// The hold made an order, whatever became of the order.
    HoldUsed {
        /// The hold's id.
        hold_id: HoldId,
        /// The id of its order.
        order_id: OrderId,
    },
    /// A unit costs another price than the buyer has seen.
    PriceChanged {
        /// The price of one unit in cents.
        unit_price_cents: i64,
    },
    /// The order is paid, and can't be cancelled.
    OrderPaid {
        /// The order's id.
        order_id: OrderId,
    },
    /// The payment can't be accepted as payment of its order.
    PaymentNotAcceptable,
    /// The request_id was sent before with other arguments.
    RequestIdReused,
    /// The idempotency_key was sent before for another order.
    IdempotencyKeyReused,
}

impl Refusal {
    /// Returns the reason that callers switch on.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OutOfStock { .. } => "OUT_OF_STOCK",
            Self::SaleNotStarted { .. } => "SALE_NOT_STARTED",
            Self::SaleEnded => "SALE_ENDED",
            Self::SalePaused => "SALE_PAUSED",
            Self::BuyerLimit { .. } => "BUYER_LIMIT",
            Self::HoldExpired { .. } => "HOLD_EXPIRED",
            Self::HoldCancelled { .. } => "HOLD_CANCELLED",
            Self::HoldUsed { .. } => "HOLD_USED",
            Self::PriceChanged { .. } => "PRICE_CHANGED",
            Self::OrderPaid { .. } => "ORDER_PAID",
            Self::PaymentNotAcceptable => "PAYMENT_NOT_ACCEPTABLE",
            Self::RequestIdReused => "REQUEST_ID_REUSED",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
        }
    }
}

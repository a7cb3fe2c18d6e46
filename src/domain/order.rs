//! An order: a hold that somebody is going to pay for.

use std::time::SystemTime;

use super::ids::{HoldId, OrderId, ProductId, Quantity};

/// What became of an order: pending → paid, or pending → cancelled, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    /// Not paid yet.
    Pending,
    /// Paid.
    Paid,
    /// Its payment failed or was overdue; the units went back.
    Cancelled,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order.
    pub id: OrderId,
    /// The hold it came from.
    pub hold_id: HoldId,
    /// The product.
    pub product_id: ProductId,
    /// Units.
    pub qty: Quantity,
    /// What is to be paid, in cents.
    pub amount_cents: i64,
    /// What became of it.
    pub status: OrderStatus,
    /// When it may be cancelled as overdue; `None`: never.
    pub payment_due_at: Option<SystemTime>,
    /// When it was made.
    pub created_at: SystemTime,
}

impl Order {
    /// Pays the order. `None`: it isn't pending, and stays as it is.
    pub fn pay(&self) -> Option<OrderStatus> {
        match self.status {
            OrderStatus::Pending => Some(OrderStatus::Paid),
            OrderStatus::Paid | OrderStatus::Cancelled => None,
        }
    }

    /// Cancels the order. `None`: it isn't pending, and stays as it is: a paid order can't be cancelled.
    pub fn cancel(&self) -> Option<OrderStatus> {
        match self.status {
            OrderStatus::Pending => Some(OrderStatus::Cancelled),
            OrderStatus::Paid | OrderStatus::Cancelled => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn order(status: OrderStatus) -> Order {
        Order {
            id: OrderId::stored(1),
            hold_id: HoldId::stored(1),
            product_id: ProductId::stored(1),
            qty: Quantity::stored(2),
            amount_cents: 2000,
            status,
            payment_due_at: None,
            created_at: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_pending_order_is_paid_or_cancelled() {
        assert_eq!(order(OrderStatus::Pending).pay(), Some(OrderStatus::Paid));
        assert_eq!(order(OrderStatus::Pending).cancel(), Some(OrderStatus::Cancelled));
    }

    #[test]
    fn a_paid_order_cannot_be_cancelled() {
        assert_eq!(order(OrderStatus::Paid).cancel(), None);
        assert_eq!(order(OrderStatus::Paid).pay(), None);
    }

    #[test]
    fn a_cancelled_order_cannot_be_paid() {
        assert_eq!(order(OrderStatus::Cancelled).pay(), None);
        assert_eq!(order(OrderStatus::Cancelled).cancel(), None);
    }
}

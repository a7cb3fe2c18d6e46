//! An order: a hold that somebody is going to pay for.

use std::time::SystemTime;

use super::ids::{HoldId, OrderId, ProductId, Quantity};

/// Says what became of an order. It goes from pending to paid, or from pending to cancelled, and never any other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    /// Not paid yet.
    Pending,
    /// Paid.
    Paid,
    /// Its payment failed or was overdue; the units went back.
    Cancelled,
}

/// Describes an order: a hold that somebody is going to pay for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order's id.
    pub id: OrderId,
    /// The id of the hold that became this order.
    pub hold_id: HoldId,
    /// The product's id.
    pub product_id: ProductId,
    /// The number of units.
    pub qty: Quantity,
    /// What is to be paid, in cents.
    pub amount_cents: i64,
    /// What became of it.
    pub status: OrderStatus,
    /// When it may be cancelled as overdue. `None` means never.
    pub payment_due_at: Option<SystemTime>,
    /// When it was made.
    pub created_at: SystemTime,
}

impl Order {
    /// Returns the status after a payment. `None` means that the order isn't pending, and stays as it is.
    pub fn pay(&self) -> Option<OrderStatus> {
        match self.status {
            OrderStatus::Pending => Some(OrderStatus::Paid),
            OrderStatus::Paid | OrderStatus::Cancelled => None,
        }
    }

    /// Returns the status after a cancellation. `None` means that the order isn't pending, and stays as it is. So a
    /// paid order can't be cancelled.
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

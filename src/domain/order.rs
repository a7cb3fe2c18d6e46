//! An order: a hold that somebody is going to pay for.

use std::time::SystemTime;

use super::{
    ids::{BuyerId, HoldId, OrderId, PaymentId, ProductId, Quantity},
    refusal::Refusal,
};

/// Says what became of an order. It goes from pending to paid, or from pending to cancelled, and never any other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderStatus {
    /// Not paid yet.
    Pending,
    /// Paid.
    Paid,
    /// Its payment failed or was overdue, or a caller cancelled it; the units went back.
    Cancelled,
}

/// Says what settled an order: what made it paid, or what made it cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledBy {
    /// A payment event paid it.
    Payment,
    /// An operator accepted a payment of another amount.
    Acceptance,
    /// It costs nothing, and so was paid from the beginning.
    NoCharge,
    /// A payment event said that the payment failed for good.
    Failure,
    /// A caller cancelled it.
    Caller,
    /// Its payment was overdue.
    Overdue,
}

impl SettledBy {
    /// Returns the status of an order that was settled so.
    pub fn order_status(self) -> OrderStatus {
        match self {
            Self::Payment | Self::Acceptance | Self::NoCharge => OrderStatus::Paid,
            Self::Failure | Self::Caller | Self::Overdue => OrderStatus::Cancelled,
        }
    }
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
    /// The buyer of its hold.
    pub buyer_id: Option<BuyerId>,
    /// When it was paid or cancelled. `None` means that it is pending, or was settled before this was written down.
    pub settled_at: Option<SystemTime>,
    /// The provider's id of the payment that paid it, where the provider said it.
    pub payment_id: Option<PaymentId>,
}

/// Says what a caller's cancellation does to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// The order is cancelled, and its units go back.
    Cancel,
    /// Nothing: it was cancelled before.
    AlreadyCancelled,
}

impl Order {
    /// Returns the status after a payment. `None` means that the order isn't pending, and stays as it is.
    pub fn pay(&self) -> Option<OrderStatus> {
        match self.status {
            OrderStatus::Pending => Some(OrderStatus::Paid),
            OrderStatus::Paid | OrderStatus::Cancelled => None,
        }
    }

    /// Decides what a caller's cancellation does. A paid order can't be cancelled.
    pub fn cancellation(&self) -> Result<Cancellation, Refusal> {
        match self.status {
            OrderStatus::Pending => Ok(Cancellation::Cancel),
            OrderStatus::Cancelled => Ok(Cancellation::AlreadyCancelled),
            OrderStatus::Paid => Err(Refusal::OrderPaid { order_id: self.id }),
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
            buyer_id: None,
            settled_at: None,
            payment_id: None,
        }
    }

    #[test]
    fn a_pending_order_is_paid_or_cancelled() {
        assert_eq!(order(OrderStatus::Pending).pay(), Some(OrderStatus::Paid));
        assert_eq!(order(OrderStatus::Pending).cancel(), Some(OrderStatus::Cancelled));
    }

    #[test]
    fn a_caller_cancels_a_pending_order_once_and_a_paid_one_never() {
        assert_eq!(order(OrderStatus::Pending).cancellation(), Ok(Cancellation::Cancel));
        assert_eq!(order(OrderStatus::Cancelled).cancellation(), Ok(Cancellation::AlreadyCancelled));
        let refusal = Refusal::OrderPaid { order_id: OrderId::stored(1) };
        assert_eq!(order(OrderStatus::Paid).cancellation(), Err(refusal));
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

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

impl SaleStats {
    /// What `available_stock` has to be: all units that are neither held nor ordered. `None` where more are held and
    /// ordered than there are, or where they don't add up to anything: then another number is wrong.
    pub fn derived_available_stock(&self) -> Option<i64> {
        let taken = self.held_stock.checked_add(self.pending_stock)?.checked_add(self.paid_stock)?;
        self.total_stock.checked_sub(taken).filter(|available| (0..=self.total_stock).contains(available))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_held_nor_ordered_is_available() {
        for (held_stock, expected) in [
            (4, Some(85)),
            (89, Some(0)),
            (90, None),
            (-11, Some(100)),
            (-12, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            let stats = SaleStats {
                total_stock: 100,
                available_stock: 1,
                held_stock,
                pending_stock: 5,
                paid_stock: 6,
                holds_active: 0,
                holds_used: 0,
                holds_expired: 0,
                holds_cancelled: 0,
                orders_pending: 0,
                orders_paid: 0,
                orders_cancelled: 0,
            };
            assert_eq!(stats.derived_available_stock(), expected, "{held_stock} held");
        }
    }
}

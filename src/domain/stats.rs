//! Where a product's units are, and how many holds and orders it has.

use super::lapsed::LapsedUnits;

/// Holds the books of one product at one moment.
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
    /// Active holds.
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
    /// Returns the books as callers see them: units whose time is over are available.
    ///
    /// `lapsed_holds` of the active holds count as expired, although nobody has taken them back yet. An overdue order
    /// may still be paid, so it stays pending.
    pub fn answered(self, lapsed: LapsedUnits, lapsed_holds: i64) -> Self {
        Self {
            available_stock: self.available_stock.saturating_add(lapsed.total()),
            held_stock: self.held_stock.saturating_sub(lapsed.held),
            pending_stock: self.pending_stock.saturating_sub(lapsed.ordered),
            holds_active: self.holds_active.saturating_sub(lapsed_holds),
            holds_expired: self.holds_expired.saturating_add(lapsed_holds),
            ..self
        }
    }

    /// Derives what `available_stock` has to be: all units that are neither held nor ordered.
    ///
    /// `None` means that another number is wrong: more units are held and ordered than there are, or fewer than 0, or
    /// the sum doesn't fit an int64.
    pub fn derived_available_stock(&self) -> Option<i64> {
        let taken = self.held_stock.checked_add(self.pending_stock)?.checked_add(self.paid_stock)?;
        self.total_stock.checked_sub(taken).filter(|available| (0..=self.total_stock).contains(available))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> SaleStats {
        SaleStats {
            total_stock: 100,
            available_stock: 1,
            held_stock: 88,
            pending_stock: 5,
            paid_stock: 6,
            holds_active: 8,
            holds_used: 3,
            holds_expired: 2,
            holds_cancelled: 1,
            orders_pending: 2,
            orders_paid: 1,
            orders_cancelled: 0,
        }
    }

    #[test]
    fn callers_see_units_past_their_time_as_available_and_the_sum_stays() {
        let answered = books().answered(LapsedUnits { held: 80, ordered: 4 }, 7);
        let expected = SaleStats {
            available_stock: 85,
            held_stock: 8,
            pending_stock: 1,
            holds_active: 1,
            holds_expired: 9,
            ..books()
        };
        assert_eq!(answered, expected);
        assert_eq!(answered.derived_available_stock(), Some(answered.available_stock));
    }

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
            let stats = SaleStats { held_stock, ..books() };
            assert_eq!(stats.derived_available_stock(), expected, "{held_stock} held");
        }
    }
}

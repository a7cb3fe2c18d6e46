//! Where the units of a product are: conservation, and what follows from it.

/// The units of one product at one moment, each number as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Units put on sale.
    pub total: i64,
    /// Units that can be held, as counted.
    pub available: i64,
    /// Units in active holds.
    pub held: i64,
    /// Units in pending orders.
    pub pending: i64,
    /// Units in paid orders.
    pub paid: i64,
}

impl Stock {
    /// What `available` has to be: all units that are neither held nor ordered. `None` where more are held and ordered
    /// than there are, or where they don't add up to anything: then another number than `available` is wrong.
    pub fn derived_available(&self) -> Option<i64> {
        let taken = self.held.checked_add(self.pending)?.checked_add(self.paid)?;
        self.total.checked_sub(taken).filter(|available| (0..=self.total).contains(available))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_held_nor_ordered_is_available() {
        let stock = Stock { total: 100, available: 1, held: 4, pending: 5, paid: 6 };
        assert_eq!(stock.derived_available(), Some(85));
        for (held, expected) in
            [(89, Some(0)), (90, None), (-11, Some(100)), (-12, None), (i64::MAX, None), (i64::MIN, None)]
        {
            assert_eq!(Stock { held, ..stock }.derived_available(), expected, "{held} held");
        }
    }
}

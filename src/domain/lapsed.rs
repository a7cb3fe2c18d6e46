//! Units whose time is over and that nobody has taken back yet.

/// Units of a product that are held or ordered in its tables, and that a new hold could get all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LapsedUnits {
    /// Units in active holds past `expires_at`, at least 0.
    pub held: i64,
    /// Units in pending orders past `payment_due_at`, at least 0. Such an order may still be paid until it is cancelled.
    pub ordered: i64,
}

impl LapsedUnits {
    /// All of them.
    pub fn total(self) -> i64 {
        self.held.saturating_add(self.ordered)
    }
}

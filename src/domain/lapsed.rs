//! Units whose time is over and that nobody has taken back yet.

/// Counts the units of a product whose time is over.
///
/// In the tables they are held or ordered, but a new hold could still get them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LapsedUnits {
    /// Units in active holds past `expires_at`, at least 0.
    pub held: i64,
    /// Units in pending orders past `payment_due_at`, at least 0. Such an order may still be paid until it is cancelled.
    pub ordered: i64,
}

impl LapsedUnits {
    /// Returns the sum of both.
    pub fn total(self) -> i64 {
        self.held.saturating_add(self.ordered)
    }
}

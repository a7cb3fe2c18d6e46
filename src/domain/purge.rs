//! What a purge may delete: a hold that is over for good, with all that belongs to it.

use std::time::SystemTime;

use super::{HoldStatus, OrderStatus};

/// Describes a hold, and all that belongs to it.
///
/// All of it is deleted together or not at all, because each part means nothing without the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dossier {
    /// The hold's status.
    pub hold: HoldStatus,
    /// When the hold's time was over.
    pub expires_at: SystemTime,
    /// The status of its order, where there is one, and when the order was settled.
    pub order: Option<(OrderStatus, SystemTime)>,
    /// When the order's payment events were taken.
    pub events: Vec<SystemTime>,
    /// When the order's payment exceptions were resolved. `None`: it is not resolved.
    pub exceptions: Vec<Option<SystemTime>>,
}

impl Dossier {
    /// Tells whether all of it is over, and was over before `limit`.
    pub fn is_over_since(&self, limit: SystemTime) -> bool {
        is_over(self.hold, self.order.map(|(status, _)| status))
            && self.expires_at < limit
            && self.order.is_none_or(|(_, settled_at)| settled_at < limit)
            && self.events.iter().all(|taken_at| *taken_at < limit)
            && self.exceptions.iter().all(|resolved_at| resolved_at.is_some_and(|at| at < limit))
    }
}

/// Tells whether a hold and its order are over. A pair that contradicts itself is not: a person has to look at it first.
fn is_over(hold: HoldStatus, order: Option<OrderStatus>) -> bool {
    match (hold, order) {
        (HoldStatus::Expired | HoldStatus::Cancelled, None)
        | (HoldStatus::Cancelled, Some(OrderStatus::Cancelled))
        | (HoldStatus::Used, Some(OrderStatus::Paid)) => true,
        (HoldStatus::Active, None | Some(OrderStatus::Pending | OrderStatus::Paid | OrderStatus::Cancelled))
        | (HoldStatus::Used, None | Some(OrderStatus::Pending | OrderStatus::Cancelled))
        | (HoldStatus::Expired, Some(OrderStatus::Pending | OrderStatus::Paid | OrderStatus::Cancelled))
        | (HoldStatus::Cancelled, Some(OrderStatus::Pending | OrderStatus::Paid)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn cancelled() -> Dossier {
        Dossier {
            hold: HoldStatus::Cancelled,
            expires_at: at(9),
            order: Some((OrderStatus::Cancelled, at(9))),
            events: vec![at(8), at(9)],
            exceptions: vec![Some(at(9))],
        }
    }

    #[test]
    fn a_hold_goes_only_where_it_and_its_order_are_over() {
        use HoldStatus::{Active, Cancelled, Expired, Used};
        let orders = [None, Some(OrderStatus::Pending), Some(OrderStatus::Paid), Some(OrderStatus::Cancelled)];
        for (hold, expected) in [
            (Active, [false, false, false, false]),
            (Used, [false, false, true, false]),
            (Expired, [true, false, false, false]),
            (Cancelled, [true, false, false, true]),
        ] {
            assert_eq!(orders.map(|order| is_over(hold, order)), expected, "{hold:?}");
        }
    }

    #[test]
    fn everything_of_a_hold_has_to_be_older_than_the_limit() {
        let old = cancelled();
        assert!(old.is_over_since(at(10)));
        for young in [
            Dossier { expires_at: at(10), ..old.clone() },
            Dossier { order: Some((OrderStatus::Cancelled, at(10))), ..old.clone() },
            Dossier { events: vec![at(8), at(10)], ..old.clone() },
            Dossier { exceptions: vec![Some(at(9)), Some(at(10))], ..old.clone() },
            Dossier { exceptions: vec![Some(at(9)), None], ..old.clone() },
        ] {
            assert!(!young.is_over_since(at(10)), "{young:?}");
        }
    }
}

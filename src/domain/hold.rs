//! A hold: units set aside for a while.

use std::time::SystemTime;

use super::{
    ids::{BuyerId, HoldId, ProductId, Quantity},
    refusal::Refusal,
};

/// Says what became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldStatus {
    /// The units are set aside.
    Active,
    /// It became an order.
    Used,
    /// Its time ran out.
    Expired,
    /// It was released, or its order was cancelled.
    Cancelled,
}

/// Describes units of a product that are set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The hold's id.
    pub id: HoldId,
    /// The product's id.
    pub product_id: ProductId,
    /// The number of units.
    pub qty: Quantity,
    /// Price of one unit in cents, frozen when the hold was made.
    pub unit_price_cents: i64,
    /// What became of it, as stored.
    pub status: HoldStatus,
    /// The last moment at which it can become an order.
    pub expires_at: SystemTime,
    /// When it was made.
    pub created_at: SystemTime,
    /// Who holds the units, where the caller named a buyer.
    pub buyer_id: Option<BuyerId>,
}

/// Says why a hold can't become an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOrderable {
    /// Its time ran out.
    Expired,
    /// It was given back.
    Cancelled,
    /// It is an order already.
    Used,
}

/// Says what a release does to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The hold is cancelled, and its units go back.
    Cancel,
    /// The hold is expired, and its units go back. The release came too late and does the sweeper's work.
    Expire,
    /// Nothing: its units went back before.
    AlreadyOver,
}

impl Hold {
    /// Tells whether an active hold's time is over at `now`. At `expires_at` itself it is not over.
    fn is_past(&self, now: SystemTime) -> bool {
        self.expires_at < now
    }

    /// Returns the status that a reader sees at `now`. An active hold whose time is over is expired, whether a sweep
    /// has seen it or not.
    pub fn status_at(&self, now: SystemTime) -> HoldStatus {
        match self.status {
            HoldStatus::Active if self.is_past(now) => HoldStatus::Expired,
            HoldStatus::Active => HoldStatus::Active,
            HoldStatus::Used => HoldStatus::Used,
            HoldStatus::Expired => HoldStatus::Expired,
            HoldStatus::Cancelled => HoldStatus::Cancelled,
        }
    }

    /// Checks that the hold can become an order at `now`. Only the orders tell whether it has made one: a hold whose
    /// order was cancelled is cancelled as well.
    pub fn order(&self, now: SystemTime) -> Result<(), NotOrderable> {
        match self.status_at(now) {
            HoldStatus::Active => Ok(()),
            HoldStatus::Used => Err(NotOrderable::Used),
            HoldStatus::Expired => Err(NotOrderable::Expired),
            HoldStatus::Cancelled => Err(NotOrderable::Cancelled),
        }
    }

    /// Decides what a release at `now` does. `None` means that the hold has become an order and can't be released.
    pub fn release(&self, now: SystemTime) -> Option<Release> {
        match self.status {
            HoldStatus::Active if self.is_past(now) => Some(Release::Expire),
            HoldStatus::Active => Some(Release::Cancel),
            HoldStatus::Expired | HoldStatus::Cancelled => Some(Release::AlreadyOver),
            HoldStatus::Used => None,
        }
    }

    /// Returns what the hold's order costs in cents. `CreateHold` refuses an amount that doesn't fit an int64.
    pub fn amount_cents(&self) -> i64 {
        self.unit_price_cents.saturating_mul(self.qty.units())
    }
}

impl NotOrderable {
    /// Returns the refusal for a hold that never made an order. It is `None` for `Used`, because such a hold has an
    /// order.
    pub fn refusal(self, hold_id: HoldId) -> Option<Refusal> {
        match self {
            Self::Expired => Some(Refusal::HoldExpired { hold_id }),
            Self::Cancelled => Some(Refusal::HoldCancelled { hold_id }),
            Self::Used => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn hold(status: HoldStatus) -> Hold {
        Hold {
            id: HoldId::stored(1),
            product_id: ProductId::stored(1),
            qty: Quantity::stored(3),
            unit_price_cents: 250,
            status,
            expires_at: at(120),
            created_at: at(0),
            buyer_id: None,
        }
    }

    #[test]
    fn only_an_active_hold_becomes_an_order_and_only_in_time() {
        use HoldStatus::*;
        for (status, now, expected) in [
            (Active, 119, Ok(())),
            (Active, 120, Ok(())),
            (Active, 121, Err(NotOrderable::Expired)),
            (Used, 1, Err(NotOrderable::Used)),
            (Used, 121, Err(NotOrderable::Used)),
            (Expired, 1, Err(NotOrderable::Expired)),
            (Cancelled, 1, Err(NotOrderable::Cancelled)),
            (Cancelled, 121, Err(NotOrderable::Cancelled)),
        ] {
            assert_eq!(hold(status).order(at(now)), expected, "{status:?} at {now}");
        }
    }

    #[test]
    fn exactly_at_its_end_a_hold_still_holds() {
        let hold = hold(HoldStatus::Active);
        assert_eq!(hold.status_at(hold.expires_at), HoldStatus::Active);
        assert_eq!(hold.status_at(hold.expires_at + Duration::from_micros(1)), HoldStatus::Expired);
    }

    #[test]
    fn a_used_hold_cannot_be_released() {
        use HoldStatus::*;
        for (status, now, expected) in [
            (Active, 120, Some(Release::Cancel)),
            (Active, 121, Some(Release::Expire)),
            (Used, 1, None),
            (Expired, 1, Some(Release::AlreadyOver)),
            (Cancelled, 1, Some(Release::AlreadyOver)),
        ] {
            assert_eq!(hold(status).release(at(now)), expected, "{status:?} at {now}");
        }
    }

    #[test]
    fn an_order_costs_the_frozen_price_of_all_its_units() {
        assert_eq!(hold(HoldStatus::Active).amount_cents(), 750);
    }
}

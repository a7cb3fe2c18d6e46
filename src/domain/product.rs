//! A product on sale: its stock, its window, its limit for one buyer.

use std::time::SystemTime;

use super::{
    ids::{Invalid, ProductId, ProductName, Quantity},
    refusal::Refusal,
};

/// What decides whether units of a product can be held. Its name is no part of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The product.
    pub id: ProductId,
    /// Price of one unit in cents, at least 0.
    pub price_cents: i64,
    /// Units put on sale, at least 0.
    pub total_stock: i64,
    /// Units that can be held, from 0 to `total_stock`.
    pub available_stock: i64,
    /// Units that one buyer may have.
    pub max_per_buyer: Option<i32>,
    /// When the sale starts; `None`: it has.
    pub starts_at: Option<SystemTime>,
    /// When the sale ends, itself no longer part of the sale; `None`: never.
    pub ends_at: Option<SystemTime>,
    /// Whether new holds are refused.
    pub paused: bool,
}

/// A product as an operator puts it on sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProduct {
    /// Its name.
    pub name: ProductName,
    /// Price of one unit in cents, at least 0.
    pub price_cents: i64,
    /// Units, at least 0.
    pub total_stock: i64,
    /// Units that one buyer may have, at least 1.
    pub max_per_buyer: Option<i32>,
    /// When the sale starts, in whole microseconds.
    pub starts_at: Option<SystemTime>,
    /// When the sale ends, in whole microseconds.
    pub ends_at: Option<SystemTime>,
}

impl Product {
    /// Whether the sale is on at `now`.
    pub fn on_sale(&self, now: SystemTime) -> Result<(), Refusal> {
        if let Some(ends_at) = self.ends_at
            && now >= ends_at
        {
            return Err(Refusal::SaleEnded);
        }
        if let Some(starts_at) = self.starts_at
            && now < starts_at
        {
            return Err(Refusal::SaleNotStarted { starts_at });
        }
        if self.paused {
            return Err(Refusal::SalePaused);
        }
        Ok(())
    }

    /// Whether a buyer who has `already_taken` units may have `qty` more.
    pub fn within_limit(&self, qty: Quantity, already_taken: i64) -> Result<(), Refusal> {
        match self.max_per_buyer {
            Some(limit) if already_taken.saturating_add(qty.units()) > i64::from(limit) => {
                Err(Refusal::BuyerLimit { limit, already_taken })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes `qty` units from what is available.
    pub fn take(&mut self, qty: Quantity) -> Result<(), Refusal> {
        if self.available_stock < qty.units() {
            return Err(Refusal::OutOfStock {
                product_id: self.id,
                requested: qty.units(),
                available_stock: self.available_stock,
            });
        }
        self.available_stock -= qty.units();
        Ok(())
    }

    /// Gives `units` back to what is available.
    pub fn give_back(&mut self, units: i64) {
        self.available_stock += units;
    }

    /// What `qty` units cost in cents, or `None` where that is more than an int64 holds.
    pub fn amount_cents(&self, qty: Quantity) -> Option<i64> {
        self.price_cents.checked_mul(qty.units())
    }
}

/// Checks a sale window: it has to end after it starts.
pub fn check_window(starts_at: Option<SystemTime>, ends_at: Option<SystemTime>) -> Result<(), Invalid> {
    match (starts_at, ends_at) {
        (Some(starts_at), Some(ends_at)) if ends_at <= starts_at => {
            Err(Invalid::new("ends_at", "must be after starts_at"))
        }
        (_, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn product(available_stock: i64) -> Product {
        Product {
            id: ProductId::stored(1),
            price_cents: 1000,
            total_stock: 100,
            available_stock,
            max_per_buyer: None,
            starts_at: None,
            ends_at: None,
            paused: false,
        }
    }

    fn units(qty: i32) -> Quantity {
        Quantity::parse(qty).unwrap()
    }

    #[test]
    fn stock_never_goes_below_zero() {
        for (available, qty, left) in [(100, 100, Some(0)), (1, 1, Some(0)), (1, 2, None), (0, 1, None)] {
            let mut product = product(available);
            match (product.take(units(qty)), left) {
                (Ok(()), Some(left)) => assert_eq!(product.available_stock, left),
                (Err(refusal), None) => {
                    let expected = Refusal::OutOfStock {
                        product_id: product.id,
                        requested: i64::from(qty),
                        available_stock: available,
                    };
                    assert_eq!(refusal, expected);
                    assert_eq!(product.available_stock, available);
                }
                (result, left) => panic!("{available} - {qty}: {result:?}, expected {left:?}"),
            }
        }
    }

    #[test]
    fn a_sale_is_on_from_its_start_until_just_before_its_end() {
        let mut product = product(1);
        product.starts_at = Some(at(10));
        product.ends_at = Some(at(20));
        let not_started = Err(Refusal::SaleNotStarted { starts_at: at(10) });
        for (now, expected) in
            [(9, not_started), (10, Ok(())), (19, Ok(())), (20, Err(Refusal::SaleEnded)), (21, Err(Refusal::SaleEnded))]
        {
            assert_eq!(product.on_sale(at(now)), expected, "at {now}");
        }
    }

    #[test]
    fn a_pause_counts_only_while_the_sale_is_on() {
        let mut product = product(1);
        product.paused = true;
        product.starts_at = Some(at(10));
        product.ends_at = Some(at(20));
        assert_eq!(product.on_sale(at(9)), Err(Refusal::SaleNotStarted { starts_at: at(10) }));
        assert_eq!(product.on_sale(at(10)), Err(Refusal::SalePaused));
        assert_eq!(product.on_sale(at(20)), Err(Refusal::SaleEnded));
    }

    #[test]
    fn a_buyer_may_have_as_much_as_the_limit() {
        let mut product = product(100);
        assert_eq!(product.within_limit(units(i32::MAX), i64::MAX), Ok(()));
        product.max_per_buyer = Some(2);
        for (qty, already_taken, allowed) in [(2, 0, true), (1, 1, true), (1, 2, false), (3, 0, false), (2, 1, false)] {
            let expected = if allowed { Ok(()) } else { Err(Refusal::BuyerLimit { limit: 2, already_taken }) };
            assert_eq!(product.within_limit(units(qty), already_taken), expected, "{qty} + {already_taken}");
        }
    }

    #[test]
    fn an_amount_over_an_int64_is_none() {
        let mut product = product(100);
        assert_eq!(product.amount_cents(units(3)), Some(3000));
        product.price_cents = i64::MAX;
        assert_eq!(product.amount_cents(units(1)), Some(i64::MAX));
        assert_eq!(product.amount_cents(units(2)), None);
    }

    #[test]
    fn a_window_ends_after_it_starts() {
        assert_eq!(check_window(None, None), Ok(()));
        assert_eq!(check_window(Some(at(1)), None), Ok(()));
        assert_eq!(check_window(Some(at(1)), Some(at(2))), Ok(()));
        assert_eq!(check_window(Some(at(2)), Some(at(2))).unwrap_err().field, "ends_at");
    }
}

//! A product on sale: its stock, its window, its limit for one buyer.
//!
//! What may be granted is said a second time, in SQL, by the script that CreateHold sends without a look at the product:
//! `db::products::take_optimistically`. The test `create_hold::grant_table` runs one table of cases through both.

use std::time::SystemTime;

use super::{
    ids::{Invalid, ProductId, ProductName, Quantity},
    refusal::Refusal,
};

/// Holds what decides whether units of a product can be held. The product's name is no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The product's id.
    pub id: ProductId,
    /// Price of one unit in cents, at least 0.
    pub price_cents: i64,
    /// Units put on sale, at least 0.
    pub total_stock: i64,
    /// Units that can be held, from 0 to `total_stock`.
    pub available_stock: i64,
    /// Units that one buyer may have.
    pub max_per_buyer: Option<i32>,
    /// When the sale starts. `None` means that it has started.
    pub starts_at: Option<SystemTime>,
    /// When the sale ends. This moment is no longer part of the sale. `None` means never.
    pub ends_at: Option<SystemTime>,
    /// Whether new holds are refused.
    pub paused: bool,
}

/// Describes a product that an operator puts on sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProduct {
    /// Its name.
    pub name: ProductName,
    /// Price of one unit in cents, at least 0.
    pub price_cents: i64,
    /// Units to put on sale, at least 0.
    pub total_stock: i64,
    /// Units that one buyer may have, at least 1.
    pub max_per_buyer: Option<i32>,
    /// When the sale starts, in whole microseconds.
    pub starts_at: Option<SystemTime>,
    /// When the sale ends, in whole microseconds.
    pub ends_at: Option<SystemTime>,
}

/// Says what an operator wants changed of a product. A field has the new value, or `None` where it stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductChange {
    /// Its name.
    pub name: Option<ProductName>,
    /// Price of one unit in cents, at least 0. Holds that were made before keep their price.
    pub price_cents: Option<i64>,
    /// Units that one buyer may have, at least 1. `Some(None)` means no limit.
    pub max_per_buyer: Option<Option<i32>>,
    /// When the sale starts, in whole microseconds.
    pub starts_at: Option<Option<SystemTime>>,
    /// When the sale ends, in whole microseconds.
    pub ends_at: Option<Option<SystemTime>>,
    /// Whether new holds are refused.
    pub paused: Option<bool>,
}

/// Counts units to add, or units to take away where it is below 0. It is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockDelta(i64);

impl StockDelta {
    /// Takes the field `delta` of a request. The lowest int64 is refused, because its opposite is no int64.
    pub fn parse(value: i64) -> Result<Self, Invalid> {
        match value {
            0 => Err(Invalid::new("delta", "must not be 0")),
            i64::MIN => Err(Invalid::new("delta", format!("must be at least {}", -i64::MAX))),
            delta => Ok(Self(delta)),
        }
    }

    /// Takes a value that the database gave.
    pub fn stored(value: i64) -> Self {
        Self(value)
    }

    /// Returns the number.
    pub fn get(self) -> i64 {
        self.0
    }

    /// Returns how many units `available_stock` lacks for this change, or 0 where there are enough. `available_stock`
    /// is at least 0.
    pub fn units_short(self, available_stock: i64) -> i64 {
        self.0.saturating_neg().saturating_sub(available_stock).max(0)
    }
}

/// Says why a product's stock can't be adjusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdjustable {
    /// The total would be more than an int64 holds.
    Invalid(Invalid),
    /// Units that are held or sold can't be taken away.
    Refused(Refusal),
}

impl Product {
    /// Checks that the sale is on at `now`.
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

    /// Checks that a buyer who has `already_taken` units may have `qty` more.
    pub fn within_limit(&self, qty: Quantity, already_taken: i64) -> Result<(), Refusal> {
        match self.max_per_buyer {
            Some(limit) if already_taken.saturating_add(qty.units()) > i64::from(limit) => {
                Err(Refusal::BuyerLimit { limit, already_taken })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that a unit costs what the buyer has seen, where the buyer says what that is.
    pub fn at_expected_price(&self, expected_unit_price_cents: Option<i64>) -> Result<(), Refusal> {
        match expected_unit_price_cents {
            Some(expected) if expected != self.price_cents => {
                Err(Refusal::PriceChanged { unit_price_cents: self.price_cents })
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

    /// Tells whether `units` can go back to what is available, which never exceeds the total.
    pub fn has_room_for(&self, units: i64) -> bool {
        self.available_stock.checked_add(units).is_some_and(|available_stock| available_stock <= self.total_stock)
    }

    /// Gives `units` back to what is available.
    pub fn give_back(&mut self, units: i64) {
        self.available_stock += units;
    }

    /// Returns the product as callers see it: `lapsed_units`, which nobody has taken back yet, are available.
    ///
    /// It is for answers only, because lapsed units have to be taken back before they are granted. What is available
    /// never exceeds the total, even where somebody has changed the tables past the service.
    pub fn answered(self, lapsed_units: i64) -> Self {
        let available_stock = self.available_stock.saturating_add(lapsed_units).min(self.total_stock);
        Self { available_stock, ..self }
    }

    /// Adds `delta` units to what is on sale, or takes available ones away.
    pub fn adjust(&mut self, delta: StockDelta) -> Result<(), NotAdjustable> {
        let StockDelta(delta) = delta;
        let Some(available_stock) = self.available_stock.checked_add(delta).filter(|left| *left >= 0) else {
            return Err(if delta > 0 { self.too_large() } else { self.too_few(-delta) });
        };
        self.total_stock = self.total_stock.checked_add(delta).ok_or_else(|| self.too_large())?;
        self.available_stock = available_stock;
        Ok(())
    }

    fn too_large(&self) -> NotAdjustable {
        let description = format!("is too large: total_stock is {}, and must fit an int64", self.total_stock);
        NotAdjustable::Invalid(Invalid::new("delta", description))
    }

    fn too_few(&self, requested: i64) -> NotAdjustable {
        let available_stock = self.available_stock;
        NotAdjustable::Refused(Refusal::OutOfStock { product_id: self.id, requested, available_stock })
    }

    /// Changes what an operator wants changed. The new window has to end after it starts.
    pub fn change(&mut self, change: &ProductChange) -> Result<(), Invalid> {
        let ProductChange { name: _, price_cents, max_per_buyer, starts_at, ends_at, paused } = change;
        let starts_at = starts_at.unwrap_or(self.starts_at);
        let ends_at = ends_at.unwrap_or(self.ends_at);
        check_window(starts_at, ends_at)?;
        self.price_cents = price_cents.unwrap_or(self.price_cents);
        self.max_per_buyer = max_per_buyer.unwrap_or(self.max_per_buyer);
        (self.starts_at, self.ends_at) = (starts_at, ends_at);
        self.paused = paused.unwrap_or(self.paused);
        Ok(())
    }

    /// Returns what `qty` units cost in cents, or `None` where that doesn't fit an int64.
    pub fn amount_cents(&self, qty: Quantity) -> Option<i64> {
        self.price_cents.checked_mul(qty.units())
    }
}

/// Checks that a sale window ends after it starts.
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
    fn a_buyer_pays_no_other_price_than_the_one_expected() {
        let product = product(1);
        assert_eq!(product.at_expected_price(None), Ok(()));
        assert_eq!(product.at_expected_price(Some(1000)), Ok(()));
        for expected in [0, 999, 1001] {
            let refusal = Refusal::PriceChanged { unit_price_cents: 1000 };
            assert_eq!(product.at_expected_price(Some(expected)), Err(refusal));
        }
    }

    #[test]
    fn callers_see_units_past_their_time_as_available() {
        let answered = product(40).answered(23);
        assert_eq!((answered.available_stock, answered.total_stock), (63, 100));
        assert_eq!(product(40).answered(0), product(40));
    }

    #[test]
    fn an_adjustment_takes_only_what_is_available() {
        for (delta, left) in [(5, Some((105, 45))), (-40, Some((60, 0))), (-41, None), (-i64::MAX, None)] {
            let mut product = product(40);
            let before = product.clone();
            let adjusted = product.adjust(StockDelta::parse(delta).unwrap());
            match left {
                Some((total, available)) => {
                    assert_eq!(adjusted, Ok(()));
                    assert_eq!((product.total_stock, product.available_stock), (total, available));
                }
                None => {
                    let refusal =
                        Refusal::OutOfStock { product_id: product.id, requested: -delta, available_stock: 40 };
                    assert_eq!((adjusted, &product), (Err(NotAdjustable::Refused(refusal)), &before));
                }
            }
        }
    }

    #[test]
    fn a_total_never_exceeds_an_int64() {
        for (total_stock, available_stock, delta) in [(i64::MAX, 0, 1), (100, 100, i64::MAX), (100, 40, i64::MAX - 99)]
        {
            let mut product = Product { total_stock, ..product(available_stock) };
            let before = product.clone();
            let Err(NotAdjustable::Invalid(invalid)) = product.adjust(StockDelta::parse(delta).unwrap()) else {
                panic!("{total_stock} {available_stock} + {delta} was taken");
            };
            assert_eq!((invalid.field, &product), ("delta", &before));
        }
        let mut product = product(100);
        assert_eq!(product.adjust(StockDelta::parse(i64::MAX - 100).unwrap()), Ok(()));
        assert_eq!((product.total_stock, product.available_stock), (i64::MAX, i64::MAX));
        for (delta, available_stock, short) in [(5, 0, 0), (-5, 5, 0), (-5, 3, 2), (-i64::MAX, 0, i64::MAX)] {
            assert_eq!(StockDelta::parse(delta).unwrap().units_short(available_stock), short);
        }
        for delta in [0, i64::MIN] {
            assert_eq!(StockDelta::parse(delta).unwrap_err().field, "delta");
        }
    }

    #[test]
    fn a_change_touches_what_it_names_and_keeps_the_window_in_order() {
        let mut product = Product { max_per_buyer: Some(2), ends_at: Some(at(20)), ..product(40) };
        let before = product.clone();
        assert_eq!(product.change(&ProductChange::default()), Ok(()));
        assert_eq!(product, before);

        let late_start = ProductChange { starts_at: Some(Some(at(20))), paused: Some(true), ..Default::default() };
        assert_eq!(product.change(&late_start).unwrap_err().field, "ends_at");
        assert_eq!(product, before, "nothing of a refused change is done");

        let change = ProductChange { max_per_buyer: Some(None), ends_at: Some(None), ..late_start };
        assert_eq!(product.change(&change), Ok(()));
        let after = Product { max_per_buyer: None, starts_at: Some(at(20)), ends_at: None, paused: true, ..before };
        assert_eq!(product, after);
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

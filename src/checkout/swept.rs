//! What a batch of a sweep may give back, and what it did.
//!
//! One product must not keep the sweep from the others. A batch waits for nothing: if somebody else has locked a
//! product's row, the product is left out, and is then swept by itself. A product whose stock can't take its units back
//! is left out too, and so is an order that contradicts its hold. Both are reported as faults. With them, the guards of
//! the tables would refuse the whole batch.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::take_back::TakenBack;
use crate::{
    db::{
        Connection, Database, Failure,
        due::{SweepPosition, SweepScope},
        holds, products,
    },
    domain::{HoldId, HoldStatus, OrderId, Product, ProductId, Quantity},
    error::Error,
};

/// Says why units of a product can't go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The product is missing.
    NoProduct,
    /// More would be available than there is in total.
    TooManyUnits {
        /// Units that are available.
        available_stock: i64,
        /// Units in total.
        total_stock: i64,
        /// Units that should go back.
        units: i64,
    },
    /// The hold of a pending order isn't used.
    HoldNotUsed {
        /// The order.
        order_id: OrderId,
        /// Its hold.
        hold_id: HoldId,
        /// The status of the hold. `None`: the hold is missing.
        status: Option<HoldStatus>,
    },
    /// The database refused to take the units back.
    Refused(String),
}

impl Fault {
    /// Says what a person should do.
    pub fn what_to_do(&self) -> &'static str {
        match self {
            Self::NoProduct => "restore the product from a backup: a purge deletes a product only after its rows",
            Self::TooManyUnits { .. } => "run `sweeper audit --repair`, and find out who changed its stock",
            Self::HoldNotUsed { .. } => "run `sweeper audit`, which says what to correct",
            Self::Refused(_) => "run `sweeper audit`; where it finds nothing, report a bug",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProduct => f.write_str("there is no such product"),
            Self::TooManyUnits { available_stock, total_stock, units } => write!(
                f,
                "available_stock is {available_stock} of {total_stock}: {units} more units, which are held or ordered, \
                are more than there is room for"
            ),
            Self::HoldNotUsed { order_id, hold_id, status: None } => {
                write!(f, "order {order_id} is pending, and its hold {hold_id} is missing")
            }
            Self::HoldNotUsed { order_id, hold_id, status: Some(status) } => {
                write!(f, "order {order_id} is pending, and its hold {hold_id} is {status:?}, not Used")
            }
            Self::Refused(text) => write!(f, "the database refused it: {text}"),
        }
    }
}

/// Says what a batch of a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds expired, or orders cancelled.
    pub rows: usize,
    /// Units given back.
    pub stock_released: i64,
    /// The products that they went back to.
    pub products: BTreeSet<ProductId>,
    /// What the batch looked at.
    pub look: Look,
}

/// Says what a batch of a sweep looked at, and left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Rows found, also those that were left out. If they are fewer than the batch may have, there are no more.
    pub found: usize,
    /// The place of the last row found.
    pub reached: Option<SweepPosition>,
    /// Products whose row somebody else has locked.
    pub busy: BTreeSet<ProductId>,
    /// Products with something wrong, and the first thing that is wrong with each.
    pub faults: BTreeMap<ProductId, Fault>,
}

impl Swept {
    /// Logs what a batch gave back, and sums it up.
    pub(super) fn of(given_back: &TakenBack, look: Look) -> Self {
        given_back.log();
        Self {
            rows: given_back.rows(),
            stock_released: given_back.units(),
            products: given_back.products().collect(),
            look,
        }
    }

    /// Asks the database whether one of the batch's products is being sold at this moment.
    ///
    /// # Errors
    /// Those of [`Database::read`].
    pub async fn is_being_sold(&self, database: &Database) -> Result<bool, Error> {
        if self.products.is_empty() {
            return Ok(false);
        }
        database
            .read("is_being_sold", async |conn: &mut Connection, _attempt| {
                holds::any_just_made(conn, &self.products).await
            })
            .await
    }
}

impl Look {
    /// Returns the products that can take these units back, and notes the others as busy or faulty. Locks products as
    /// far as that is needed and the batch may.
    pub(super) async fn ready(
        &mut self,
        conn: &mut Connection,
        scope: SweepScope,
        units: impl Iterator<Item = (ProductId, Quantity)>,
    ) -> Result<BTreeSet<ProductId>, Failure> {
        let mut units_of: BTreeMap<ProductId, i64> = BTreeMap::new();
        for (product_id, qty) in units {
            *units_of.entry(product_id).or_default() += qty.units();
        }
        if units_of.is_empty() {
            return Ok(BTreeSet::new());
        }
        let products = match scope {
            SweepScope::AllProducts => {
                let free = products::lock_free(conn, units_of.keys().copied()).await?;
                self.busy.extend(units_of.keys().filter(|id| !free.contains_key(id)));
                free
            }
            SweepScope::Product(id) => {
                let units = units_of.get(&id).copied().unwrap_or(0);
                BTreeMap::from_iter(self.of_one(conn, id, units).await?.map(|product| (id, product)))
            }
        };
        let is_ready = |(id, units): (ProductId, i64)| match products.get(&id) {
            Some(product) if product.has_room_for(units) => Some(id),
            Some(Product { available_stock, total_stock, .. }) => {
                let (available_stock, total_stock) = (*available_stock, *total_stock);
                self.faults.entry(id).or_insert(Fault::TooManyUnits { available_stock, total_stock, units });
                None
            }
            None => None,
        };
        Ok(units_of.into_iter().filter_map(is_ready).collect())
    }

    /// Reads one product. Locks it only to be sure that it has no room for its units.
    ///
    /// Without the lock, buyers don't wait for this batch's next statement. If the product has no room after all, the
    /// guard of the update refuses the batch.
    async fn of_one(&mut self, conn: &mut Connection, id: ProductId, units: i64) -> Result<Option<Product>, Failure> {
        let seen = products::read(&mut *conn, id).await?;
        let sure = match seen {
            Some((product, _)) if product.has_room_for(units) => return Ok(Some(product)),
            Some(_) => products::lock(conn, id).await?,
            None => None,
        };
        if sure.is_none() {
            self.faults.entry(id).or_insert(Fault::NoProduct);
        }
        Ok(sure.map(|(product, _)| product))
    }
}

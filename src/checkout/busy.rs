//! Rows that somebody else has locked, as lanes name them, and the locks on products that units go back to.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use super::product_waits::{Permit, ProductWaits};
use crate::{
    db::{Connection, Failure, products},
    domain::{HoldId, IdempotencyKey, OrderId, ProductId},
    lane::BusyRow,
};

const PRODUCTS: &str = "products";

/// Names an order that somebody else has locked.
pub(super) fn order(id: OrderId) -> BusyRow {
    BusyRow { table: "orders", id: id.get() }
}

/// Names a hold that somebody else has locked.
pub(super) fn hold(id: HoldId) -> BusyRow {
    BusyRow { table: "holds", id: id.get() }
}

/// Names a product that somebody else has locked.
pub(super) fn product(id: ProductId) -> BusyRow {
    BusyRow { table: PRODUCTS, id: id.get() }
}

/// Names a payment event's key that somebody else may have locked. Its row may not be there yet, so it has no id: a
/// hash of the key stands for it.
pub(super) fn payment_key(key: &IdempotencyKey) -> BusyRow {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    BusyRow { table: "payment_webhooks", id: hash.cast_signed() }
}

/// Locks the products that a batch's units go back to.
///
/// A batch waits for no product. A product that sells is mostly busy, and its commands leave the batch. The batch that
/// they form in the lane of that product queues up for its row, if it has a permit.
#[derive(Debug)]
pub(super) struct ProductLocks {
    waits_for: Option<(ProductId, Permit)>,
}

impl ProductLocks {
    /// Makes the locks for a batch. If its commands left another batch for a row, `busy` is that row.
    pub(super) fn new(busy: Option<BusyRow>, waits: &ProductWaits) -> Self {
        let product = busy.filter(|row| row.table == PRODUCTS).map(|row| ProductId::stored(row.id));
        Self { waits_for: product.and_then(|id| Some((id, waits.permit(id)?))) }
    }

    /// Locks these products as far as it may, in the order of their ids. Returns the locked ones.
    pub(super) async fn lock(
        &self,
        conn: &mut Connection,
        ids: BTreeSet<ProductId>,
    ) -> Result<BTreeSet<ProductId>, Failure> {
        match self.waits_for {
            // Commands that wait for one product need no other.
            Some((id, _)) if ids.len() == 1 && ids.contains(&id) => {
                Ok(products::lock(conn, id).await?.map(|_| id).into_iter().collect())
            }
            _ => Ok(products::lock_free(conn, ids).await?.into_keys().collect()),
        }
    }

    /// Remembers that the wait for the product was in vain, if there was one.
    pub(super) fn remember_stuck(&self, waits: &ProductWaits) {
        if let Some((id, _)) = self.waits_for {
            waits.remember_stuck(id);
        }
    }
}

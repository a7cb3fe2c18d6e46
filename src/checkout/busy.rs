//! Rows that somebody else has locked, as lanes know them, and the locks on the products that units go back to.

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

/// An order that somebody else has locked.
pub(super) fn order(id: OrderId) -> BusyRow {
    BusyRow { table: "orders", id: id.get() }
}

/// A hold that somebody else has locked.
pub(super) fn hold(id: HoldId) -> BusyRow {
    BusyRow { table: "holds", id: id.get() }
}

/// A product that somebody else has locked.
pub(super) fn product(id: ProductId) -> BusyRow {
    BusyRow { table: PRODUCTS, id: id.get() }
}

/// A payment event's key that somebody else may have locked: a row that isn't there yet has no id.
pub(super) fn payment_key(key: &IdempotencyKey) -> BusyRow {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    BusyRow { table: "payment_webhooks", id: hash.cast_signed() }
}

/// How a batch locks the products that its units go back to. A batch of its own kind waits for none: those that are busy,
/// as is a product that sells, leave it. A batch for one such product queues up for its row, as far as it may.
#[derive(Debug)]
pub(super) struct ProductLocks {
    waits_for: Option<(ProductId, Permit)>,
}

impl ProductLocks {
    /// For a batch of commands that left another for `busy`, if they did.
    pub(super) fn new(busy: Option<BusyRow>, waits: &ProductWaits) -> Self {
        let product = busy.filter(|row| row.table == PRODUCTS).map(|row| ProductId::stored(row.id));
        Self { waits_for: product.and_then(|id| Some((id, waits.permit(id)?))) }
    }

    /// Locks what may be locked of these products, in the order of their ids, and returns which those are.
    pub(super) async fn lock(
        &self,
        conn: &mut Connection,
        ids: BTreeSet<ProductId>,
    ) -> Result<BTreeSet<ProductId>, Failure> {
        match self.waits_for {
            // Those who wait for one product need no other.
            Some((id, _)) if ids.len() == 1 && ids.contains(&id) => {
                Ok(products::lock(conn, id).await?.map(|_| id).into_iter().collect())
            }
            _ => Ok(products::lock_free(conn, ids).await?.into_keys().collect()),
        }
    }

    /// Remembers a wait that was in vain.
    pub(super) fn remember_stuck(&self, waits: &ProductWaits) {
        if let Some((id, _)) = self.waits_for {
            waits.remember_stuck(id);
        }
    }
}

//! Names and prices of products, remembered for up to a minute.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;

use crate::domain::ProductId;

/// How old a name and a price may be, by the contract.
const LABEL_TTL: Duration = Duration::from_secs(60);
/// Products whose labels are remembered.
const LABELS_MAX: u64 = 10_000;

/// Keeps a product's name and price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Price of one unit in cents.
    pub(super) price_cents: i64,
}

/// Remembers the labels of products for this process. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    by_product: Cache<ProductId, Label>,
    /// Held while a label is put in or taken out.
    changes: Arc<Mutex<Changes>>,
}

/// Counts the changes of products that this process has tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes(u64);

impl Default for Labels {
    fn default() -> Self {
        let by_product = Cache::builder().max_capacity(LABELS_MAX).time_to_live(LABEL_TTL).build();
        Self { by_product, changes: Arc::default() }
    }
}

impl Labels {
    /// Returns a product's label, if it is remembered.
    pub(super) fn get(&self, id: ProductId) -> Option<Label> {
        self.by_product.get(&id)
    }

    /// Returns the count of changes. Ask for it before reading a label that is to be remembered.
    pub(super) fn changes(&self) -> Changes {
        *self.lock()
    }

    /// Remembers a label that was read after `seen`. If a product was changed since, the label may be the old one, and
    /// is not remembered.
    pub(super) fn remember(&self, id: ProductId, label: Label, seen: Changes) {
        let changes = self.lock();
        if *changes == seen {
            self.by_product.insert(id, label);
        }
    }

    /// Forgets a product's label, because the product was changed, or may have been.
    pub(super) fn forget(&self, id: ProductId) {
        let mut changes = self.lock();
        changes.0 += 1;
        self.by_product.invalidate(&id);
    }

    /// Locks the count. Nothing panics while it is locked, so nothing is broken behind a poisoned lock.
    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        Label { name: name.into(), price_cents: 1 }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let (labels, id) = (Labels::default(), ProductId::stored(1));
        let before = labels.changes();
        labels.remember(id, label("old"), before);
        assert_eq!(labels.get(id), Some(label("old")));
        labels.forget(id);
        assert_eq!(labels.get(id), None);
        labels.remember(id, label("old"), before);
        assert_eq!(labels.get(id), None, "a reading that was under way");
        labels.remember(id, label("new"), labels.changes());
        assert_eq!(labels.get(id), Some(label("new")));
    }
}

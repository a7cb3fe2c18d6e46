//! Names and prices of products, which may be up to a minute old.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;

use crate::domain::ProductId;

/// How old a name and a price may be, by the contract.
const LABEL_TTL: Duration = Duration::from_secs(60);
/// Products whose names are remembered.
const LABELS_MAX: u64 = 10_000;

/// What is remembered of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Price of one unit in cents.
    pub(super) price_cents: i64,
}

/// The labels that this process remembers. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    known: Cache<ProductId, Label>,
    /// Held while a label is put in or taken out.
    changes: Arc<Mutex<Changes>>,
}

/// How many changes of products this process has tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes(u64);

impl Default for Labels {
    fn default() -> Self {
        let known = Cache::builder().max_capacity(LABELS_MAX).time_to_live(LABEL_TTL).build();
        Self { known, changes: Arc::default() }
    }
}

impl Labels {
    /// Returns a product's label, if it is known.
    pub(super) fn get(&self, id: ProductId) -> Option<Label> {
        self.known.get(&id)
    }

    /// Counts the changes so far. Whoever is about to read a label asks before.
    pub(super) fn changes(&self) -> Changes {
        *self.lock()
    }

    /// Remembers a label that was read after `seen`, unless a product was changed since: the label may be the old one.
    pub(super) fn remember(&self, id: ProductId, label: Label, seen: Changes) {
        let changes = self.lock();
        if *changes == seen {
            self.known.insert(id, label);
        }
    }

    /// Forgets a product's label, because it was changed, or may have been.
    pub(super) fn forget(&self, id: ProductId) {
        let mut changes = self.lock();
        changes.0 += 1;
        self.known.invalidate(&id);
    }

    /// Nothing panics while it holds the lock, so there is nothing broken behind a poisoned one.
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

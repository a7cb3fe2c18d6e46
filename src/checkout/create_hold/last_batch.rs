//! What the last batch of each product came to. It says which way the next batch tries first.

use std::time::{Duration, Instant, SystemTime};

use moka::sync::Cache;

use super::decision::HoldDecision;
use crate::domain::{Product, ProductId};

/// How long a last batch counts before the product's row is looked at again.
const LAST_BATCH_TTL: Duration = Duration::from_secs(10);
/// Products whose last batch is remembered.
const PRODUCTS_MAX: u64 = 10_000;

/// Remembers what a product was like when it was last locked.
#[derive(Debug, Clone)]
pub(super) struct SeenProduct {
    pub(super) product: Product,
    /// When that was, by the database's clock.
    at: SystemTime,
    /// The same moment by the clock of this process.
    since: Instant,
}

impl SeenProduct {
    /// Tells the time by the database's clock, as far as this process knows it.
    pub(super) fn now(&self) -> SystemTime {
        self.at + self.since.elapsed()
    }
}

/// Says what the last batch of a product came to.
///
/// It only chooses the way to try first. A grant is made only where the product's row still says so, and each refusal
/// is decided by a new read.
#[derive(Debug, Clone)]
pub(super) enum LastBatch {
    /// Every command was granted, when the product was like this.
    AllGranted(SeenProduct),
    /// No command was granted anything new. `limited` says whether the product has a limit for each buyer.
    NothingGranted { limited: bool },
}

/// Remembers the last batches of products.
#[derive(Debug)]
pub(super) struct LastBatches(Cache<ProductId, LastBatch>);

impl LastBatches {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(PRODUCTS_MAX).time_to_live(LAST_BATCH_TTL).build())
    }

    pub(super) fn get(&self, id: ProductId) -> Option<LastBatch> {
        self.0.get(&id)
    }

    /// Remembers a batch that was decided when the product was locked, at the moment `at`.
    pub(super) fn remember(&self, product: &Product, at: SystemTime, decisions: &[HoldDecision]) {
        if decisions.iter().all(HoldDecision::is_new) {
            let seen = SeenProduct { product: product.clone(), at, since: Instant::now() };
            self.0.insert(product.id, LastBatch::AllGranted(seen));
        } else if !decisions.iter().any(HoldDecision::is_new) {
            self.0.insert(product.id, LastBatch::NothingGranted { limited: product.max_per_buyer.is_some() });
        } else {
            self.0.invalidate(&product.id);
        }
    }
}

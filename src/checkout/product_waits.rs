//! Which transactions may wait for a product's row in the database, and how the others wait.
//!
//! A product that sells is locked nearly all the time, for some milliseconds by each batch. Whoever wants it next has
//! to queue up for it in the database. A product that a console or a frozen server has locked looks the same at first.
//! So a transaction waits for the row, as long as one may wait for a lock. After that the product counts as stuck: from
//! then on its row is looked at, without waiting in the database, until it is free. A look takes a connection only for
//! a moment. So stuck products, however many, don't take all connections of the pool.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tracing::warn;

use crate::{
    db::{Connection, Database, products},
    domain::ProductId,
    error::Error,
    lane::{Backoff, Calls},
};

/// How long a product counts as stuck after a wait in vain. It is longer than callers are patient, so most callers
/// don't wait in vain again. It is short, because a product that is only sold by many servers should soon be queued for
/// again.
const STUCK_FOR: Duration = Duration::from_secs(5);
/// Stuck products that are remembered.
const STUCK_MAX: u64 = 10_000;

/// Says who may wait for products' rows on one server. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ProductWaits {
    database: Database,
    stuck: Cache<ProductId, ()>,
    /// The waits that may begin while half of the pool is in use.
    permits: Arc<Semaphore>,
}

/// Permits one transaction to wait for a product's row in the database.
#[derive(Debug)]
pub(super) struct Permit {
    _counted: Option<OwnedSemaphorePermit>,
}

impl ProductWaits {
    /// Makes the permits for a database's pool.
    pub(super) fn new(database: Database) -> Self {
        let permits = Arc::new(Semaphore::new((database.pool_size() / 4).max(1)));
        let stuck = Cache::builder().max_capacity(STUCK_MAX).time_to_live(STUCK_FOR).build();
        Self { database, stuck, permits }
    }

    /// Runs a transaction that locks one product, again as long as the row is stuck and its callers are patient.
    ///
    /// # Errors
    /// `LockContention` where the row stayed locked, and those of `run`.
    pub(super) async fn run<T, C, F>(
        &self,
        product_id: ProductId,
        calls: Calls<'_, C>,
        mut run: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            let permit = self.permit_or_free_row(product_id, calls).await?;
            let done = run().await;
            drop(permit);
            match done {
                Err(Error::LockContention) => {
                    self.remember_stuck(product_id);
                    if Instant::now() >= calls.patient_until() {
                        return Err(refuse(product_id));
                    }
                }
                done => return done,
            }
        }
    }

    /// Gives a permit to wait, unless the product is stuck or too many wait already.
    pub(super) fn permit(&self, product_id: ProductId) -> Option<Permit> {
        if self.stuck.contains_key(&product_id) {
            return None;
        }
        if !self.database.is_crowded() {
            return Some(Permit { _counted: None });
        }
        let counted = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(Permit { _counted: Some(counted) })
    }

    /// Remembers a product as stuck: a wait for its row was in vain.
    pub(super) fn remember_stuck(&self, product_id: ProductId) {
        self.stuck.insert(product_id, ());
    }

    /// Waits until there is a permit, or the row is free without one.
    async fn permit_or_free_row<C>(&self, product_id: ProductId, calls: Calls<'_, C>) -> Result<Option<Permit>, Error> {
        let mut backoff = Backoff::default();
        loop {
            if let Some(permit) = self.permit(product_id) {
                return Ok(Some(permit));
            }
            if self.is_free(product_id).await? {
                self.stuck.invalidate(&product_id);
                return Ok(None);
            }
            calls.leave_turn();
            if Instant::now() + backoff.pause() >= calls.patient_until() {
                return Err(refuse(product_id));
            }
            tokio::time::sleep(backoff.pause()).await;
            backoff.double(Backoff::LONGEST);
        }
    }

    /// Tells whether nobody has the product locked, or there is no such product.
    async fn is_free(&self, product_id: ProductId) -> Result<bool, Error> {
        self.database
            .read("product_is_free", async |conn: &mut Connection, _attempt| {
                let free = products::lock_free(&mut *conn, [product_id]).await?;
                Ok(!free.is_empty() || products::read(conn, product_id).await?.is_none())
            })
            .await
    }
}

fn refuse(product_id: ProductId) -> Error {
    warn!(product_id = product_id.get(), "Product stayed locked by somebody else: calls for it are refused");
    Error::LockContention
}

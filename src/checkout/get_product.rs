//! GetProduct: reads a product.
//!
//! Its stock is always read after the call arrived, by one read for all calls that were waiting then. Its name and its
//! price may be up to a minute old. Units past their time count as available. A read that finds any starts a take-back
//! of them in the background.

use std::sync::Arc;

use super::{
    Checkout,
    labels::{Label, Labels},
    take_back::TakeBacks,
};
use crate::{
    db::{Connection, Database, products},
    domain::{Product, ProductId},
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcome, Outcomes},
};

/// Shows a product with its name, as callers see it.
#[derive(Debug, Clone)]
pub struct ProductView {
    /// Its name.
    pub name: Arc<str>,
    /// The rest.
    pub product: Product,
}

/// Runs GetProduct commands for one product.
pub struct GetProductBatch {
    database: Database,
    take_backs: TakeBacks,
    labels: Labels,
}

impl GetProductBatch {
    pub(super) fn new(database: Database, take_backs: TakeBacks, labels: Labels) -> Self {
        Self { database, take_backs, labels }
    }

    async fn read(&self, id: ProductId) -> Result<Option<ProductView>, Error> {
        let changes = self.labels.changes();
        let label = self.labels.get(id);
        let has_label = label.is_some();
        let read = self
            .database
            .read("get_product", async |conn: &mut Connection, _attempt| {
                let name = if has_label { None } else { products::name(&mut *conn, id).await? };
                Ok((name, products::read(conn, id).await?))
            })
            .await?;
        let (name, Some((product, lapsed))) = read else { return Ok(None) };
        self.take_backs.found(id, lapsed);
        let mut product = product.answered(lapsed.total());
        let read = name.map(|name| Label { name: name.into(), price_cents: product.price_cents });
        if let Some(read) = &read {
            self.labels.remember(id, read.clone(), changes);
        }
        let Some(label) = label.or(read) else { return Ok(None) };
        product.price_cents = label.price_cents;
        Ok(Some(ProductView { name: label.name, product }))
    }
}

impl Batch for GetProductBatch {
    type Command = ProductId;
    type Answer = ProductView;

    const NAME: &'static str = "get_product";

    async fn run(&self, calls: Calls<'_, ProductId>) -> Result<Outcomes<ProductView>, Error> {
        let commands = calls.commands();
        let Some(&id) = commands.first() else { return Ok(Vec::new()) };
        let product = self.read(id).await?;
        let result = product.ok_or_else(|| Error::from(Missing::Product(id)));
        Ok(vec![Outcome::Done(result); commands.len()])
    }
}

impl Checkout {
    /// Reads a product; its stock after the call arrived.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_product(&self, id: ProductId) -> Result<ProductView, Error> {
        self.get_product.submit(LaneKey::Product(id.get()), id).await
    }
}

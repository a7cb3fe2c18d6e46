//! GetProduct: reads a product. Its stock is always read after the call arrived, and the read is shared by the calls
//! that were waiting then; its name and price may be up to a minute old. Units past their time count as available, and a
//! read that finds any has them taken back.

use std::sync::Arc;

use super::{
    labels::{Label, Labels},
    take_back::TakeBacks,
};
use crate::{
    db::{Connection, Database, products},
    domain::{Product, ProductId},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcome, Outcomes},
};

/// A product with its name, as callers see it.
#[derive(Debug, Clone)]
pub struct ProductView {
    /// Its name.
    pub name: Arc<str>,
    /// All else.
    pub product: Product,
}

/// The batch of GetProduct: calls for one product.
pub struct GetProducts {
    database: Database,
    take_backs: TakeBacks,
    labels: Labels,
}

impl GetProducts {
    pub(super) fn new(database: Database, take_backs: TakeBacks, labels: Labels) -> Self {
        Self { database, take_backs, labels }
    }

    async fn read(&self, id: ProductId) -> Result<Option<ProductView>, Error> {
        let changes = self.labels.changes();
        let label = self.labels.get(id);
        let known = label.is_some();
        let read = self
            .database
            .read("get_product", async |conn: &mut Connection, _attempt| {
                let name = if known { None } else { products::name(&mut *conn, id).await? };
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

impl Batch for GetProducts {
    type Command = ProductId;
    type Answer = ProductView;

    async fn run(&self, calls: Calls<'_, ProductId>) -> Result<Outcomes<ProductView>, Error> {
        let commands = calls.commands();
        let Some(&id) = commands.first() else { return Ok(Vec::new()) };
        let product = self.read(id).await?;
        let result = product.ok_or_else(|| Error::from(Missing::Product(id)));
        Ok(vec![Outcome::Done(result); commands.len()])
    }

    fn record(&self, _command: &ProductId, _result: &Result<ProductView, Error>) {}
}

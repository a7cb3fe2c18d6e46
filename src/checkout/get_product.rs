//! GetProduct: reads a product. Its stock is always read after the call arrived, and the read is shared by the calls
//! that were waiting then; its name and price may be up to a minute old. Units past their time count as available, and a
//! read that finds any has them taken back.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;

use super::take_back::TakeBacks;
use crate::{
    db::{Connection, Database, products},
    domain::{Product, ProductId},
    error::{Error, Missing},
    lane::{Batch, Results},
};

/// How old a name and a price may be, by the contract.
const LABEL_TTL: Duration = Duration::from_secs(60);
/// Products whose names are remembered.
const LABELS_MAX: u64 = 10_000;

/// A product with its name, as callers see it.
#[derive(Debug, Clone)]
pub struct ProductView {
    /// Its name.
    pub name: Arc<str>,
    /// All else.
    pub product: Product,
}

#[derive(Clone)]
struct Label {
    name: Arc<str>,
    price_cents: i64,
}

/// The batch of GetProduct: calls for one product.
pub struct GetProducts {
    database: Database,
    take_backs: TakeBacks,
    labels: Cache<ProductId, Label>,
}

impl GetProducts {
    pub(super) fn new(database: Database, take_backs: TakeBacks) -> Self {
        let labels = Cache::builder().max_capacity(LABELS_MAX).time_to_live(LABEL_TTL).build();
        Self { database, take_backs, labels }
    }

    async fn read(&self, id: ProductId) -> Result<Option<ProductView>, Error> {
        let label = self.labels.get(&id);
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
        let Some(label) = label.or_else(|| name.map(|name| self.remember(id, name, product.price_cents))) else {
            return Ok(None);
        };
        product.price_cents = label.price_cents;
        Ok(Some(ProductView { name: label.name, product }))
    }

    fn remember(&self, id: ProductId, name: String, price_cents: i64) -> Label {
        let label = Label { name: name.into(), price_cents };
        self.labels.insert(id, label.clone());
        label
    }
}

impl Batch for GetProducts {
    type Command = ProductId;
    type Answer = ProductView;

    async fn run(&self, commands: &[ProductId]) -> Result<Results<ProductView>, Error> {
        let Some(&id) = commands.first() else { return Ok(Vec::new()) };
        let product = self.read(id).await?;
        let result = product.ok_or_else(|| Error::from(Missing::Product(id)));
        Ok(vec![result; commands.len()])
    }

    fn record(&self, _command: &ProductId, _result: &Result<ProductView, Error>) {}
}

//! UpdateProduct: changes what an operator may change of a product.
//!
//! product FOR UPDATE · decide · what is past its time, for the answer · product and COMMIT as one script. The lock makes a
//! pause take effect between two batches of holds, and two changes at the same moment each keep the window in order.

use tracing::info;

use super::{ProductView, labels::Labels, product_waits::ProductWaits};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, lapsed, products},
    domain::{Invalid, Product, ProductChange, ProductId},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes, each_alone},
};

/// An operator's wish to change a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateProduct {
    /// The product.
    pub product_id: ProductId,
    /// What to change.
    pub change: ProductChange,
}

/// The batch of UpdateProduct: one command.
pub struct UpdateProducts {
    database: Database,
    waits: ProductWaits,
    labels: Labels,
}

impl UpdateProducts {
    pub(super) fn new(database: Database, waits: ProductWaits, labels: Labels) -> Self {
        Self { database, waits, labels }
    }

    async fn update(&self, command: &UpdateProduct, calls: Calls<'_, UpdateProduct>) -> Result<ProductView, Error> {
        let run = || self.update_once(command, calls);
        let updated = self.waits.run(command.product_id, calls, run).await;
        // Also where it failed: the outcome of a commit may be unknown.
        self.labels.forget(command.product_id);
        updated
    }

    async fn update_once(
        &self,
        command: &UpdateProduct,
        calls: Calls<'_, UpdateProduct>,
    ) -> Result<ProductView, Error> {
        let UpdateProduct { product_id, change } = command;
        let Committed { value: updated, .. } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("update_product", async |conn: &mut Connection, _attempt| {
                let locked = products::lock(&mut *conn, *product_id).await?;
                let name = products::name(&mut *conn, *product_id).await?;
                let mut script = Script::default();
                let (Some((mut product, _now)), Some(name)) = (locked, name) else {
                    return Ok(Plan { script, value: Err(Missing::Product(*product_id).into()) });
                };
                if let Err(invalid) = product.change(change) {
                    return Ok(Plan { script, value: Err(in_product(invalid).into()) });
                }
                products::update(&mut script, &product, change.name.as_ref());
                let product = product.answered(lapsed::read(conn, *product_id).await?.total());
                Ok::<_, Failure>(Plan { script, value: Ok(view(product, name, change)) })
            })
            .await?;
        updated
    }
}

impl Batch for UpdateProducts {
    type Command = UpdateProduct;
    type Answer = ProductView;

    async fn run(&self, calls: Calls<'_, UpdateProduct>) -> Result<Outcomes<ProductView>, Error> {
        each_alone(calls, |command| self.update(command, calls)).await
    }

    fn record(&self, _command: &UpdateProduct, result: &Result<ProductView, Error>) {
        if let Ok(ProductView { product, .. }) = result {
            info!(product_id = product.id.get(), paused = product.paused, "Product updated");
        }
    }
}

fn view(product: Product, name: String, change: &ProductChange) -> ProductView {
    let name = change.name.as_ref().map_or(name, |name| name.as_str().to_owned());
    ProductView { name: name.into(), product }
}

/// The window's end, as it is called in the request.
fn in_product(invalid: Invalid) -> Invalid {
    Invalid { field: "product.ends_at", ..invalid }
}

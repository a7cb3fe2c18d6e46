//! UpdateProduct: changes what an operator may change of a product.
//!
//! product FOR UPDATE · decide · what is past its time, for the answer · product and COMMIT as one script. Because of
//! the lock, a pause takes effect between two batches of holds. Two changes at the same moment each keep the window in
//! order.

use tracing::info;

use super::{
    Checkout, ProductView,
    labels::Labels,
    operator_actions::{Method, OperatorCall, changed, changed_time},
    product_waits::ProductWaits,
};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, lapsed, operator_actions::ActionProduct, products},
    domain::{FieldChange, Invalid, Principal, Product, ProductChange, ProductId, ProductName},
    error::{Error, Missing},
    lane::{Calls, LaneKey, RunOne},
};

/// Asks for a product to be changed, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateProduct {
    /// The product.
    pub product_id: ProductId,
    /// What to change.
    pub change: ProductChange,
    /// Who asks.
    pub principal: Principal,
}

impl UpdateProduct {
    fn call(&self) -> OperatorCall<'_> {
        OperatorCall { principal: &self.principal, method: Method::UpdateProduct, request_id: None }
    }
}

/// Lists what changes between two states of a product, in the order of the fields' names.
fn changes(before: (&Product, &str), after: (&Product, &str)) -> [Option<FieldChange>; 6] {
    let ((before, name_before), (after, name_after)) = (before, after);
    [
        changed_time("ends_at", before.ends_at, after.ends_at),
        changed("max_per_buyer", before.max_per_buyer, after.max_per_buyer),
        changed("name", Some(name_before), Some(name_after)),
        changed("paused", Some(before.paused), Some(after.paused)),
        changed("price_cents", Some(before.price_cents), Some(after.price_cents)),
        changed_time("starts_at", before.starts_at, after.starts_at),
    ]
}

/// Runs UpdateProduct commands, one by one.
pub struct UpdateProductBatch {
    database: Database,
    waits: ProductWaits,
    labels: Labels,
}

impl UpdateProductBatch {
    pub(super) fn new(database: Database, waits: ProductWaits, labels: Labels) -> Self {
        Self { database, waits, labels }
    }

    async fn update(&self, command: &UpdateProduct, calls: Calls<'_, UpdateProduct>) -> Result<ProductView, Error> {
        let UpdateProduct { product_id, change, principal: _ } = command;
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
                let before = product.clone();
                if let Err(invalid) = product.change(change) {
                    return Ok(Plan { script, value: Err(in_product(invalid).into()) });
                }
                products::update(&mut script, &product, change.name.as_ref());
                let new_name = change.name.as_ref().map_or(name.as_str(), ProductName::as_str);
                let changes = changes((&before, &name), (&product, new_name));
                command.call().write(&mut script, ActionProduct::Known(*product_id), changes)?;
                let product = product.answered(lapsed::read(conn, *product_id).await?.total());
                Ok::<_, Failure>(Plan { script, value: Ok(view(product, name, change)) })
            })
            .await?;
        updated
    }
}

impl RunOne for UpdateProductBatch {
    type Command = UpdateProduct;
    type Answer = ProductView;

    const NAME: &'static str = "update_product";

    async fn run_one(&self, command: &UpdateProduct, calls: Calls<'_, UpdateProduct>) -> Result<ProductView, Error> {
        let updated = self.waits.run(command.product_id, calls, || self.update(command, calls)).await;
        // The label is forgotten also where this failed: the outcome of a commit may be unknown.
        self.labels.forget(command.product_id);
        updated
    }

    fn record(&self, command: &UpdateProduct, result: &Result<ProductView, Error>) {
        command.call().log(Some(command.product_id), result);
        if let Ok(ProductView { product, .. }) = result {
            info!(product_id = product.id.get(), paused = product.paused, "Product updated");
        }
    }
}

impl Checkout {
    /// Changes a product.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (the window), or temporary.
    pub async fn update_product(&self, command: UpdateProduct) -> Result<ProductView, Error> {
        let key = LaneKey::Product(command.product_id.get());
        self.update_product.submit(key, command).await
    }
}

fn view(product: Product, name: String, change: &ProductChange) -> ProductView {
    let name = change.name.as_ref().map_or(name, |name| name.as_str().to_owned());
    ProductView { name: name.into(), product }
}

/// Names the window's end as the request does.
fn in_product(invalid: Invalid) -> Invalid {
    Invalid { field: "product.ends_at", ..invalid }
}

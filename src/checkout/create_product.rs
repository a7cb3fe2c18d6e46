//! CreateProduct: puts a product on sale, once per request_id.

use tracing::info;

use super::{Checkout, ProductView};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, Transactions, products},
    domain::{NewProduct, Product, ProductId, Refusal, RequestId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Asks for a product to be put on sale, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateProduct {
    /// What to sell.
    pub product: NewProduct,
    /// The caller's request_id, or one that the server made up.
    pub request_id: RequestId,
}

/// Runs CreateProduct commands, one by one.
pub struct CreateProductBatch {
    database: Database,
}

impl CreateProductBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

/// Puts a product on sale, or finds the one that the same request has put on sale.
///
/// # Errors
/// `Refused` (the request_id is another request's), or temporary.
pub async fn create_product(transactions: Transactions<'_>, command: &CreateProduct) -> Result<ProductView, Error> {
    let CreateProduct { product, request_id } = command;
    let Committed { value: earlier, ids, .. } = transactions
        .transaction("create_product", async |conn: &mut Connection, _attempt| {
            let earlier = products::created_by(conn, request_id, product).await?;
            let mut script = Script::default();
            if earlier.is_none() {
                products::insert(&mut script, request_id, product);
            }
            Ok::<_, Failure>(Plan { script, value: earlier })
        })
        .await?;
    match earlier {
        None => Ok(created(ProductId::stored(ids.get(0)), product)),
        Some((id, true)) => Ok(created(id, product)),
        Some((_, false)) => Err(Refusal::RequestIdReused.into()),
    }
}

impl RunOne for CreateProductBatch {
    type Command = CreateProduct;
    type Answer = ProductView;

    async fn run_one(&self, command: &CreateProduct, calls: Calls<'_, CreateProduct>) -> Result<ProductView, Error> {
        create_product(self.database.for_callers(calls.wanted(), calls.outcome_unknown()), command).await
    }

    fn record(&self, _command: &CreateProduct, result: &Result<ProductView, Error>) {
        if let Ok(ProductView { product, .. }) = result {
            info!(product_id = product.id.get(), total_stock = product.total_stock, "Product created");
        }
    }
}

impl Checkout {
    /// Puts a product on sale.
    ///
    /// # Errors
    /// `Refused` (the request_id is another request's), or temporary.
    pub async fn create_product(&self, command: CreateProduct) -> Result<ProductView, Error> {
        self.create_product.submit(LaneKey::WholeUseCase, command).await
    }
}

/// Shows the product as the request makes it. A repeat gets the same, whatever was changed since.
fn created(id: ProductId, new: &NewProduct) -> ProductView {
    let product = Product {
        id,
        price_cents: new.price_cents,
        total_stock: new.total_stock,
        available_stock: new.total_stock,
        max_per_buyer: new.max_per_buyer,
        starts_at: new.starts_at,
        ends_at: new.ends_at,
        paused: false,
    };
    ProductView { name: new.name.as_str().into(), product }
}

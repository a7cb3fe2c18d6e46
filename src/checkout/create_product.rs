//! CreateProduct: puts a product on sale, once per request_id.

use tracing::info;

use super::{
    Checkout, ProductView,
    operator_actions::{Method, OperatorCall, changed, changed_time},
};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script, Transactions, operator_actions::ActionProduct, products,
    },
    domain::{FieldChange, NewProduct, Principal, Product, ProductId, Refusal, RequestId},
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
    /// Who asks.
    pub principal: Principal,
}

impl CreateProduct {
    fn call(&self) -> OperatorCall<'_> {
        let Self { product: _, request_id, principal } = self;
        OperatorCall { principal, method: Method::CreateProduct, request_id: Some(request_id) }
    }

    fn changes(&self) -> [Option<FieldChange>; 6] {
        let NewProduct { name, price_cents, total_stock, max_per_buyer, starts_at, ends_at } = &self.product;
        [
            changed_time("ends_at", None, *ends_at),
            changed("max_per_buyer", None, *max_per_buyer),
            changed("name", None, Some(name.as_str())),
            changed("price_cents", None, Some(*price_cents)),
            changed_time("starts_at", None, *starts_at),
            changed("total_stock", None, Some(*total_stock)),
        ]
    }
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
    let CreateProduct { product, request_id, principal: _ } = command;
    let Committed { value: earlier, ids, .. } = transactions
        .transaction("create_product", async |conn: &mut Connection, _attempt| {
            let earlier = products::created_by(conn, request_id, product).await?;
            let mut script = Script::default();
            if earlier.is_none() {
                products::insert(&mut script, request_id, product);
                command.call().write(&mut script, ActionProduct::JustInserted, command.changes())?;
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

    const NAME: &'static str = "create_product";

    async fn run_one(&self, command: &CreateProduct, calls: Calls<'_, CreateProduct>) -> Result<ProductView, Error> {
        create_product(self.database.for_callers(calls.wanted(), calls.outcome_unknown()), command).await
    }

    fn record(&self, command: &CreateProduct, result: &Result<ProductView, Error>) {
        command.call().log(result.as_ref().ok().map(|view| view.product.id), result);
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

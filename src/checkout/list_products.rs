//! ListProducts: lists the products, newest first.

use super::{
    Checkout, ProductView,
    page::{Page, PagePosition, PageRequest},
};
use crate::{
    db::{
        Connection, Database,
        products::{self, ListedProduct},
    },
    domain::ProductId,
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of a product beside its name, at most.
const ENTRY_BYTES: usize = 160;

/// Asks for products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListProducts {
    /// Only products whose sale is on, or only the others.
    pub on_sale: Option<bool>,
    /// Which page.
    pub page: PageRequest,
}

/// Runs ListProducts commands, one by one.
pub struct ListProductsBatch {
    database: Database,
}

impl ListProductsBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl RunOne for ListProductsBatch {
    type Command = ListProducts;
    type Answer = Page<ProductView>;

    const NAME: &'static str = "list_products";

    async fn run_one(
        &self,
        command: &ListProducts,
        _calls: Calls<'_, ListProducts>,
    ) -> Result<Page<ProductView>, Error> {
        let ListProducts { on_sale, page: PageRequest { size, after } } = *command;
        let before = after.map(|position| ProductId::stored(position.id));
        let products = self
            .database
            .read("list_products", async |conn: &mut Connection, _attempt| products::list(conn, before, size + 1).await)
            .await?;
        let bytes = |listed: &ListedProduct| listed.name.len() + ENTRY_BYTES;
        let page = Page::of(products, size, bytes, |listed| PagePosition::of_id(listed.product.id.get()));
        let page =
            page.keeping(|listed| on_sale.is_none_or(|wanted| listed.product.on_sale(listed.now).is_ok() == wanted));
        let view = |ListedProduct { name, product, lapsed, now: _ }: ListedProduct| ProductView {
            name: name.into(),
            product: product.answered(lapsed.total()),
        };
        Ok(Page { entries: page.entries.into_iter().map(view).collect(), next: page.next })
    }
}

impl Checkout {
    /// Lists the products, newest first.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_products(&self, command: ListProducts) -> Result<Page<ProductView>, Error> {
        self.list_products.submit(LaneKey::WholeUseCase, command).await
    }
}

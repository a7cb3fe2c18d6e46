//! ListPaymentExceptions: payments that need a person, newest first, page by page.
//!
//! A page goes on below the last id of the page before it. So exceptions that arrive meanwhile don't move the pages.

use super::{
    Checkout,
    page::{Page, PagePosition, PageRequest},
};
use crate::{
    db::{
        Connection, Database,
        payment_exceptions::{self, Filter},
    },
    domain::{PaymentException, PaymentExceptionId, ProductId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of an exception beside its texts, at most.
const ENTRY_BYTES: usize = 96;

/// Asks for payments that need a person, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPaymentExceptions {
    /// Only exceptions of this product.
    pub product_id: Option<ProductId>,
    /// Whether resolved exceptions are listed too.
    pub include_resolved: bool,
    /// Which page.
    pub page: PageRequest,
}

/// Runs ListPaymentExceptions commands, one by one.
pub struct ListPaymentExceptionsBatch {
    database: Database,
}

impl ListPaymentExceptionsBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

fn bytes(exception: &PaymentException) -> usize {
    let note = exception.resolution.as_ref().map_or(0, |resolution| resolution.note.as_str().len());
    exception.key.as_bytes().len() + note + ENTRY_BYTES
}

impl RunOne for ListPaymentExceptionsBatch {
    type Command = ListPaymentExceptions;
    type Answer = Page<PaymentException>;

    const NAME: &'static str = "list_payment_exceptions";

    async fn run_one(
        &self,
        command: &ListPaymentExceptions,
        _calls: Calls<'_, ListPaymentExceptions>,
    ) -> Result<Page<PaymentException>, Error> {
        let ListPaymentExceptions { product_id, include_resolved, page: PageRequest { size, after } } = *command;
        let filter = Filter { product_id, include_resolved };
        let before = after.map(|position| PaymentExceptionId::stored(position.id));
        let exceptions = self
            .database
            .read("list_payment_exceptions", async |conn: &mut Connection, _attempt| {
                payment_exceptions::list(conn, filter, before, size + 1).await
            })
            .await?;
        Ok(Page::of(exceptions, size, bytes, |exception| PagePosition::of_id(exception.id.get())))
    }
}

impl Checkout {
    /// Lists payments that need a person.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_payment_exceptions(
        &self,
        command: ListPaymentExceptions,
    ) -> Result<Page<PaymentException>, Error> {
        self.list_payment_exceptions.submit(LaneKey::WholeUseCase, command).await
    }
}

//! ListPaymentExceptions: payments that need a person, newest first, page by page.
//!
//! A page goes on below the last id of the page before it. So exceptions that arrive meanwhile don't move the pages.

use super::Checkout;
use crate::{
    db::{
        Connection, Database,
        payment_exceptions::{self, Filter},
    },
    domain::{PaymentException, PaymentExceptionId, ProductId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of a page's texts after which it takes no more exceptions. A message has at most 256 KiB, an exception 4.3 KB.
const PAGE_BYTES_MAX: usize = 240 * 1024;
/// Bytes of an exception beside its texts, at most.
const EXCEPTION_BYTES: usize = 96;

/// Asks for payments that need a person, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPaymentExceptions {
    /// Only exceptions of this product.
    pub product_id: Option<ProductId>,
    /// Whether resolved exceptions are listed too.
    pub include_resolved: bool,
    /// Only exceptions that are older than this one, which is the last of the page before.
    pub before: Option<PaymentExceptionId>,
    /// Exceptions on a page, at least 1.
    pub page_size: usize,
}

/// Lists a page of exceptions, and says whether there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The exceptions, newest first.
    pub exceptions: Vec<PaymentException>,
    /// Whether older ones follow.
    pub more: bool,
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

/// Counts how many of these exceptions fit into a message.
fn fitting(exceptions: &[PaymentException]) -> usize {
    let sizes = exceptions.iter().map(|exception| {
        let note = exception.resolution.as_ref().map_or(0, |resolution| resolution.note.as_str().len());
        exception.key.as_bytes().len() + note + EXCEPTION_BYTES
    });
    let totals = sizes.scan(0, |total, size| {
        *total += size;
        Some(*total)
    });
    totals.take_while(|total| *total <= PAGE_BYTES_MAX).count()
}

impl RunOne for ListPaymentExceptionsBatch {
    type Command = ListPaymentExceptions;
    type Answer = Page;

    async fn run_one(
        &self,
        command: &ListPaymentExceptions,
        _calls: Calls<'_, ListPaymentExceptions>,
    ) -> Result<Page, Error> {
        let ListPaymentExceptions { product_id, include_resolved, before, page_size } = *command;
        let filter = Filter { product_id, include_resolved };
        let mut exceptions = self
            .database
            .read("list_payment_exceptions", async |conn: &mut Connection, _attempt| {
                payment_exceptions::list(conn, filter, before, page_size + 1).await
            })
            .await?;
        let fits = page_size.min(fitting(&exceptions));
        let more = exceptions.len() > fits;
        exceptions.truncate(fits);
        Ok(Page { exceptions, more })
    }
}

impl Checkout {
    /// Lists payments that need a person.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_payment_exceptions(&self, command: ListPaymentExceptions) -> Result<Page, Error> {
        self.list_payment_exceptions.submit(LaneKey::WholeUseCase, command).await
    }
}

//! ListPaymentExceptions: payments that need a person, newest first, page by page.
//!
//! A page goes on below the last id of the page before, so exceptions that arrive meanwhile move nothing.

use crate::{
    db::{
        Connection, Database,
        payment_exceptions::{self, Filter},
    },
    domain::{PaymentException, PaymentExceptionId, ProductId},
    error::Error,
    lane::{Batch, Calls, Outcomes, each_alone},
};

/// Bytes of a page's texts after which it takes no more exceptions: a message has 256 KiB at the most, and an exception
/// 4.3 KB.
const PAGE_BYTES_MAX: usize = 240 * 1024;
/// Bytes of an exception beside its texts, at the most.
const EXCEPTION_BYTES: usize = 96;

/// An operator's wish to see what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPaymentExceptions {
    /// Only this product's.
    pub product_id: Option<ProductId>,
    /// Whether also those that are resolved.
    pub include_resolved: bool,
    /// Only those older than this one: the last of the page before.
    pub before: Option<PaymentExceptionId>,
    /// Exceptions, at least 1.
    pub page_size: usize,
}

/// A page, and whether there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub exceptions: Vec<PaymentException>,
    /// Whether older ones follow.
    pub more: bool,
}

/// The batch of ListPaymentExceptions: one command.
pub struct ListsOfPaymentExceptions {
    database: Database,
}

impl ListsOfPaymentExceptions {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn list(&self, command: &ListPaymentExceptions) -> Result<Page, Error> {
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

/// How many of these fit into a message.
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

impl Batch for ListsOfPaymentExceptions {
    type Command = ListPaymentExceptions;
    type Answer = Page;

    async fn run(&self, calls: Calls<'_, ListPaymentExceptions>) -> Result<Outcomes<Page>, Error> {
        each_alone(calls, |command| self.list(command)).await
    }

    fn record(&self, _command: &ListPaymentExceptions, _result: &Result<Page, Error>) {}
}

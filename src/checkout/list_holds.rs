//! ListHolds: lists the holds of a product, newest first.

use std::time::SystemTime;

use super::{
    Checkout,
    page::{Page, PagePosition, PageRequest},
};
use crate::{
    db::{
        Connection, Database,
        holds::{self, StoredHold},
    },
    domain::{BuyerId, Hold, HoldStatus, ProductId},
    error::Error,
    lane::{Calls, LaneKey, RunOne},
};

/// Bytes of a hold beside its texts, at most.
const ENTRY_BYTES: usize = 160;

/// Asks for holds of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListHolds {
    /// The product.
    pub product_id: ProductId,
    /// Only holds of this buyer.
    pub buyer_id: Option<BuyerId>,
    /// Only holds that are in this state now.
    pub status: Option<HoldStatus>,
    /// Which page.
    pub page: PageRequest,
}

/// Runs ListHolds commands, one by one.
pub struct ListHoldsBatch {
    database: Database,
}

impl ListHoldsBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl RunOne for ListHoldsBatch {
    type Command = ListHolds;
    type Answer = Page<Hold>;

    const NAME: &'static str = "list_holds";

    async fn run_one(&self, command: &ListHolds, _calls: Calls<'_, ListHolds>) -> Result<Page<Hold>, Error> {
        let ListHolds { product_id, buyer_id, status, page: PageRequest { size, after } } = command;
        let stored = stored_as(*status);
        let holds = self
            .database
            .read("list_holds", async |conn: &mut Connection, _attempt| match buyer_id {
                Some(buyer) => {
                    holds::list_of_buyer(conn, *product_id, buyer, stored, after.map(|at| at.id), size + 1).await
                }
                None => holds::list(conn, *product_id, stored, after.map(place), size + 1).await,
            })
            .await?;
        let by_time = buyer_id.is_none();
        let bytes = |stored: &StoredHold| buyer_bytes(&stored.hold) + ENTRY_BYTES;
        let position = |stored: &StoredHold| PagePosition {
            at: by_time.then_some(stored.hold.expires_at),
            id: stored.hold.id.get(),
        };
        let page = Page::of(holds, *size, bytes, position);
        let shown = |StoredHold { hold, now, .. }: StoredHold| Hold { status: hold.status_at(now), ..hold };
        let page = Page { entries: page.entries.into_iter().map(shown).collect(), next: page.next };
        Ok(page.keeping(|hold: &Hold| status.is_none_or(|wanted| hold.status == wanted)))
    }
}

/// Returns the stored states that a hold may have which is in this state now: an active hold may be past its time.
fn stored_as(status: Option<HoldStatus>) -> &'static [HoldStatus] {
    match status {
        None => &[HoldStatus::Active, HoldStatus::Used, HoldStatus::Expired, HoldStatus::Cancelled],
        Some(HoldStatus::Active) => &[HoldStatus::Active],
        Some(HoldStatus::Used) => &[HoldStatus::Used],
        Some(HoldStatus::Expired) => &[HoldStatus::Active, HoldStatus::Expired],
        Some(HoldStatus::Cancelled) => &[HoldStatus::Cancelled],
    }
}

fn place(PagePosition { at, id }: PagePosition) -> (SystemTime, i64) {
    (at.unwrap_or(SystemTime::UNIX_EPOCH), id)
}

fn buyer_bytes(hold: &Hold) -> usize {
    hold.buyer_id.as_ref().map_or(0, |buyer_id| buyer_id.as_bytes().len())
}

impl Checkout {
    /// Lists the holds of a product, newest first.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_holds(&self, command: ListHolds) -> Result<Page<Hold>, Error> {
        self.list_holds.submit(LaneKey::WholeUseCase, command).await
    }
}

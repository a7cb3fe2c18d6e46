//! CreateHold: sets units of a product aside.
//!
//! There are three ways to answer a batch. The last batch of the product says which one to try first (`last_batch`).
//! A way that can't decide the batch returns `None`, and the next way is taken:
//!
//! | way | when | what is sent | round trips while the product is locked |
//! |---|---|---|---|
//! | `optimistic` | the last batch was granted as a whole | one script from BEGIN to COMMIT | none |
//! | `unlocked` | the last batch was granted nothing new | one read of the product and what the buyers have; one of callers' request_ids | the product isn't locked |
//! | `locked` | in all other cases, and where another way can't decide | BEGIN, product FOR UPDATE, reads, one script with COMMIT | one for the script; one for callers' request_ids; one or more where the product has a limit; up to three where it is short of stock |
//!
//! An optimistic script fails as a whole if the product has changed since it was seen. Then the locked way follows, in
//! the same call of the database.
//!
//! What may be granted is a rule of [`crate::domain::product`], which `decision` applies. The optimistic script says
//! the same rule in SQL: [`take_optimistically`](crate::db::products::take_optimistically).

mod bounds;
mod decision;
mod last_batch;
mod locked;
mod optimistic;
mod unlocked;

use std::{collections::HashMap, time::Duration};

use tracing::info;

use super::{Checkout, product_waits::ProductWaits, suspects::Suspects, take_back::PAST_MAX};
use crate::{
    db::{
        Connection, Database, Failure,
        holds::{self, StoredHold},
    },
    domain::{BuyerId, Hold, ProductId, Quantity, Refusal, RequestId},
    error::Error,
    lane::{Batch, Calls, LaneKey, Outcomes, all_done},
    metrics,
};
use bounds::Bounds;
use last_batch::{LastBatch, LastBatches};

/// Asks for units of a product to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateHold {
    /// The product.
    pub product_id: ProductId,
    /// Units.
    pub qty: Quantity,
    /// The caller's request_id, or one that the server made up.
    pub request_id: RequestId,
    /// Who holds.
    pub buyer_id: Option<BuyerId>,
    /// What the buyer expects a unit to cost, in cents.
    pub expected_unit_price_cents: Option<i64>,
}

impl CreateHold {
    /// Checks that this command repeats the request that made a hold of `qty` units for `buyer_id` at this price.
    fn repeats(&self, qty: Quantity, buyer_id: &Option<BuyerId>, unit_price_cents: i64) -> Result<(), Refusal> {
        let Self { product_id: _, qty: own_qty, request_id: _, buyer_id: own_buyer_id, expected_unit_price_cents } =
            self;
        let same_price = expected_unit_price_cents.is_none_or(|expected| expected == unit_price_cents);
        let same = *own_qty == qty && own_buyer_id == buyer_id && same_price;
        if same { Ok(()) } else { Err(Refusal::RequestIdReused) }
    }
}

/// Tells a caller which hold it has, and whether this call made it.
#[derive(Debug, Clone)]
pub struct CreatedHold {
    /// The hold, as it is now.
    pub hold: Hold,
    /// Whether an earlier call made it.
    pub replayed: bool,
}

/// Runs CreateHold commands for one product.
pub struct CreateHoldBatch {
    database: Database,
    waits: ProductWaits,
    hold_ttl: Duration,
    last_batches: LastBatches,
    bounds: Bounds,
    suspects: Suspects<RequestId>,
}

impl CreateHoldBatch {
    pub(super) fn new(database: Database, waits: ProductWaits, hold_ttl: Duration) -> Self {
        // The database counts in microseconds.
        let hold_ttl = hold_ttl - Duration::from_nanos(u64::from(hold_ttl.subsec_nanos() % 1000));
        let (last_batches, bounds, suspects) = (LastBatches::new(), Bounds::new(), Suspects::default());
        Self { database, waits, hold_ttl, last_batches, bounds, suspects }
    }
}

impl Batch for CreateHoldBatch {
    type Command = CreateHold;
    type Answer = CreatedHold;

    const NAME: &'static str = "create_hold";

    /// Without gathering, 64 and 256 callers made 1.1 times as many holds.
    const GATHERS: bool = false;

    async fn run(&self, calls: Calls<'_, CreateHold>) -> Result<Outcomes<CreatedHold>, Error> {
        let Some(product_id) = calls.commands().first().map(|command| command.product_id) else {
            return Ok(Vec::new());
        };
        // An earlier run may have made holds for made-up request_ids, and only the locked way looks for those.
        let last_batch = if calls.is_outcome_unknown() { None } else { self.last_batches.get(product_id) };
        let optimistic = match last_batch {
            Some(LastBatch::AllGranted(seen)) => self.plan_optimistic(seen, calls).await?,
            Some(LastBatch::NothingGranted { limited }) => {
                match self.answer_unlocked(product_id, limited, calls.commands()).await? {
                    Some(results) => return Ok(all_done(results)),
                    None => None,
                }
            }
            None => None,
        };
        self.run_locked(optimistic, product_id, calls).await.map(all_done)
    }

    fn record(&self, _command: &CreateHold, result: &Result<CreatedHold, Error>, _took: Duration) {
        let outcome = match result {
            Ok(CreatedHold { replayed: true, .. }) => "replayed",
            Ok(CreatedHold { hold, .. }) => {
                info!(
                    hold_id = hold.id.get(),
                    product_id = hold.product_id.get(),
                    qty = hold.qty.get(),
                    "Hold created"
                );
                "created"
            }
            Err(error) => error.reason(),
        };
        metrics::count_hold(outcome);
    }
}

impl Checkout {
    /// Sets units aside.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (a buyer is required, an amount over an int64), `Refused`, or temporary.
    pub async fn create_hold(&self, command: CreateHold) -> Result<Hold, Error> {
        let key = LaneKey::Product(command.product_id.get());
        Ok(self.create_hold.submit(key, command).await?.hold)
    }
}

/// Records a request that never gets to a lane, because it has a bad field or the server isn't ready.
pub fn record_early(error: &Error) {
    metrics::count_hold(error.reason());
}

/// Finds the holds that earlier transactions made for these requests.
///
/// The first run (`attempt` 0) asks only for request_ids of callers: nobody else has one that was just made up. Later
/// runs ask for all, because the run before may have committed although it failed.
async fn earlier_requests(
    conn: &mut Connection,
    attempt: u32,
    product_id: ProductId,
    commands: &[CreateHold],
) -> Result<HashMap<RequestId, StoredHold>, Failure> {
    let request_ids: Vec<&RequestId> =
        commands.iter().map(|command| &command.request_id).filter(|id| attempt > 0 || id.is_callers()).collect();
    if request_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let holds = holds::made_by(conn, product_id, &request_ids).await?;
    Ok(holds.into_iter().map(|stored| (stored.request_id.clone(), stored)).collect())
}

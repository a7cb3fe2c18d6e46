//! The optimistic way: a whole batch as one script, without a look at the product.
//!
//! script: units from the product, if it is still as it was seen and every buyer stays within the limit · holds ·
//! COMMIT. Nobody waits for a round trip between the lock on the product and the commit.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use super::{
    CreateHold, CreateHoldBatch, Suspects,
    decision::{DecidedBatch, Facts, HoldDecision, decide},
    last_batch::SeenProduct,
    locked::{Step, WrittenBatch},
};
use crate::{
    checkout::take_back::TakenBack,
    db::{Plan, Script, holds, products},
    domain::{Product, RequestId},
    error::Error,
    lane::Calls,
};

/// How long an optimistic script may be on its way to the database. A script that a network has held back for longer is
/// refused by its own condition. Its callers may have given up, and another server may have told them something else.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(2);

impl CreateHoldBatch {
    /// Plans the commands as one script. `None`, the next way is taken: what was seen says that not all can be granted,
    /// or somebody else may have locked the hold of one of these requests.
    pub(super) async fn plan_optimistic(
        &self,
        seen: SeenProduct,
        calls: Calls<'_, CreateHold>,
    ) -> Result<Option<Plan<Step>>, Error> {
        if any_is_suspect(&self.suspects, calls.commands()) {
            return Ok(None);
        }
        let (now, commands) = (seen.now(), calls.commands());
        let bounds = self.bounds.for_optimistic_script(&self.database, &seen.product, commands).await?;
        let units_by_buyer = bounds.iter().map(|(buyer, bound)| (buyer.clone(), bound.units)).collect();
        let facts = Facts { product: but_for_the_script(seen.product), now, earlier: HashMap::new(), units_by_buyer };
        let DecidedBatch { decisions, new, units_granted, units_short: _ } = decide(&facts, commands);
        if !decisions.iter().all(HoldDecision::is_new) {
            return Ok(None);
        }
        let mut script = Script::default();
        let product = facts.product;
        products::take_optimistically(&mut script, &product, units_granted, &new, &bounds, last_moment(now));
        holds::insert_at_script_time(&mut script, product.id, product.price_cents, self.hold_ttl, &new);
        let written = WrittenBatch { decisions, new, product, locked_at: None, taken_back: TakenBack::default() };
        Ok(Some(Plan { script, value: Step::Decided(written) }))
    }
}

/// Leaves out the conditions that the script itself looks at: the stock, and whether the sale is on.
fn but_for_the_script(seen: Product) -> Product {
    Product { available_stock: seen.total_stock, starts_at: None, ends_at: None, ..seen }
}

fn last_moment(now: SystemTime) -> SystemTime {
    now + ON_ITS_WAY_MAX
}

/// Tells whether somebody else may have locked the hold of one of these requests.
///
/// A script would wait for that hold while it has the product locked. The other ways look for the hold first.
fn any_is_suspect(suspects: &Suspects<RequestId>, commands: &[CreateHold]) -> bool {
    !suspects.among(commands.iter().map(|command| &command.request_id)).is_empty()
}

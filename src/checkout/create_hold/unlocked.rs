//! The unlocked way: a whole batch is answered by reads, if none of its commands can be granted anything new.
//!
//! read: the product, what its buyers have, whether anything could be taken back · read: earlier requests. A product
//! that is sold out, or not on sale yet, refuses many requests so without a lock.

use super::{
    CreateHold, CreateHoldBatch, CreatedHold,
    decision::{DecidedBatch, Facts, HoldDecision, decide},
    earlier_requests,
};
use crate::{
    db::{
        Connection,
        products::{self, UnlockedView},
    },
    domain::ProductId,
    error::Error,
    lane::Results,
};

impl CreateHoldBatch {
    /// Answers the commands by reads without a lock. `None`, the next way is taken: a command can be granted something
    /// new, or could be if units past their time were taken back.
    ///
    /// `limited` says whether the product had a limit for each buyer when it was last locked.
    pub(super) async fn answer_unlocked(
        &self,
        product_id: ProductId,
        limited: bool,
        commands: &[CreateHold],
    ) -> Result<Option<Results<CreatedHold>>, Error> {
        let read = self
            .database
            .read("create_hold_without_lock", async |conn: &mut Connection, _attempt| {
                let buyers = commands.iter().filter_map(|command| command.buyer_id.as_ref()).filter(|_| limited);
                let view = products::read_unlocked(&mut *conn, product_id, buyers).await?;
                // This read comes second: who has a hold by now may have the units that the first read didn't find.
                Ok((view, earlier_requests(conn, 0, product_id, commands).await?))
            })
            .await?;
        let (Some(UnlockedView { product, now, any_to_take_back, units_by_buyer }), earlier) = read else {
            return Ok(None);
        };
        let buyers_were_read = limited || product.max_per_buyer.is_none();
        if !buyers_were_read || units_by_buyer.values().any(|of_buyer| of_buyer.past_units > 0) {
            return Ok(None);
        }
        let units_by_buyer = units_by_buyer.into_iter().map(|(buyer, of_buyer)| (buyer, of_buyer.units)).collect();
        let facts = Facts { product, now, earlier, units_by_buyer };
        let DecidedBatch { decisions, units_short, .. } = decide(&facts, commands);
        if units_short > 0 && any_to_take_back {
            return Ok(None);
        }
        Ok(decisions.into_iter().map(HoldDecision::without_new_hold).collect())
    }
}

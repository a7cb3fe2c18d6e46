//! GetHold: reads a hold. A hold whose time is over is shown as expired, whether it was swept or not.

use super::Checkout;
use crate::{
    db::{Connection, Database, holds},
    domain::{Hold, HoldId},
    error::{Error, Missing},
    lane::{Batch, Calls, LaneKey, Outcomes},
};

/// Runs GetHold commands.
pub struct GetHoldBatch {
    database: Database,
}

impl GetHoldBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for GetHoldBatch {
    type Command = HoldId;
    type Answer = Hold;

    const NAME: &'static str = "get_hold";

    async fn run(&self, calls: Calls<'_, HoldId>) -> Result<Outcomes<Hold>, Error> {
        let commands = calls.commands();
        let holds = self
            .database
            .read("get_hold", async |conn: &mut Connection, _attempt| holds::read(conn, commands.iter().copied()).await)
            .await?;
        let result = |id: &HoldId| match holds.get(id) {
            Some(stored) => Ok(Hold { status: stored.hold.status_at(stored.now), ..stored.hold.clone() }),
            None => Err(Missing::Hold(*id).into()),
        };
        Ok(commands.iter().map(|id| result(id).into()).collect())
    }
}

impl Checkout {
    /// Reads a hold.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_hold(&self, id: HoldId) -> Result<Hold, Error> {
        self.get_hold.submit(LaneKey::WholeUseCase, id).await
    }
}

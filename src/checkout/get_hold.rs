//! GetHold: reads a hold. One whose time is over is expired to a reader, swept or not.

use crate::{
    db::{Connection, Database, holds},
    domain::{Hold, HoldId},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes},
};

/// The batch of GetHold.
pub struct GetHolds {
    database: Database,
}

impl GetHolds {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl Batch for GetHolds {
    type Command = HoldId;
    type Answer = Hold;

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

    fn record(&self, _command: &HoldId, _result: &Result<Hold, Error>) {}
}

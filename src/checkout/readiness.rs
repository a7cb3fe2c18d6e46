//! Whether the database can be served from, and what the sweeps did.

use crate::{
    db::{
        Connection, Database, migrate,
        sweeper_state::{self, SweeperTotals},
    },
    error::Error,
};

/// Looks whether the database can be served from, or says why not. `current` says that its migrations were all there
/// before: then they aren't looked at again.
///
/// # Errors
/// A sentence for the log. It names the kind of error only, since the texts of connection errors change from one second
/// to the next.
pub async fn look(database: &Database, current: bool) -> Result<SweeperTotals, String> {
    if !current {
        let missing = migrate::missing(database).await.map_err(why)?;
        if !missing.is_empty() {
            return Err(format!("the database lacks migrations, run `server migrate`: {}", missing.join(", ")));
        }
    }
    let read = async |conn: &mut Connection, _attempt| sweeper_state::read(conn).await;
    let totals = database.read("sweeper_state", read).await.map_err(why)?;
    totals.ok_or_else(|| "the one row of sweeper_state is missing, run `server migrate`".to_owned())
}

fn why(error: Error) -> String {
    match error {
        Error::Unavailable(_) => "the database can't be reached".to_owned(),
        Error::Overloaded(_) => "no database connection came free in time".to_owned(),
        other => format!("the database answers with an error: {other}"),
    }
}

//! Looks whether the server can serve from the database.

use super::Checkout;
use crate::{
    config::Account,
    db::{self, Connection, Database, Failure, FailureKind, migrate, sweeper_state},
    error::Error,
};

/// Says what a look has found at a database that answers and is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the database takes writes, or a sentence for the log that says why not.
    pub writes: Result<(), String>,
}

impl Checkout {
    /// Looks whether the server can serve from the database. `current` says that an earlier look found all migrations:
    /// then this one doesn't look for them.
    ///
    /// # Errors
    /// A sentence for the log that says why not. It names only the kind of error, because the texts of connection
    /// errors change from one second to the next.
    pub async fn readiness(&self, current: bool) -> Result<Readiness, String> {
        look(&self.database, current).await
    }
}

async fn look(database: &Database, current: bool) -> Result<Readiness, String> {
    if !current {
        let missing = migrate::missing(database).await.map_err(why)?;
        if !missing.is_empty() {
            return Err(format!("the database lacks migrations, run `server migrate`: {}", missing.join(", ")));
        }
    }
    if !current && let Some(lacks) = database.missing_right(Account::Server).await.map_err(why)? {
        return Err(lacks);
    }
    let read = async |conn: &mut Connection, _attempt| sweeper_state::is_there(conn).await;
    match database.read("sweeper_state", read).await {
        Ok(true) => {}
        Ok(false) => return Err("the one row of sweeper_state is missing, run `server migrate`".to_owned()),
        // Somebody has locked the table. Only the sweeps need it.
        Err(Error::LockContention) => {}
        Err(error) => return Err(why(error)),
    }
    let writes = match database.takes_writes().await {
        Ok(()) => Ok(()),
        Err(failure) if failure.text.contains(READ_ONLY) && database.is_super_read_only().await => {
            Err("the database is read-only (super_read_only): is it a secondary?".to_owned())
        }
        Err(failure) => Err(why_no_writes(&failure)),
    };
    Ok(Readiness { writes })
}

fn why(error: Error) -> String {
    match error {
        Error::Unavailable(text) if text.contains("offline mode") => "the database is in offline_mode".to_owned(),
        Error::Unavailable(text) if text.contains(db::SEE_GRANTS) || text.contains("Access denied") => {
            format!("the database refuses this program: {text}")
        }
        Error::Unavailable(_) => "the database can't be reached".to_owned(),
        Error::Overloaded(_) => "no database connection came free in time".to_owned(),
        other => format!("the database answers with an error: {other}"),
    }
}

/// Part of the text of an error by which the setting read_only refuses a write.
const READ_ONLY: &str = "read-only option";

/// Parts of the texts of errors of writes, and what they mean to a person.
const NO_WRITES: &[(&str, &str)] = &[
    (READ_ONLY, "the database is read-only (read_only): is it a secondary?"),
    ("read-only mode", "the database is read-only (it was started so)"),
    ("is read only", "the database is read-only (innodb_read_only or innodb_force_recovery)"),
    ("BINLOG_FORMAT = STATEMENT", "binlog_format is STATEMENT: the service needs ROW or MIXED"),
    ("replication hook", "the database's replication group refuses writes: has this member left it?"),
    ("WSREP", "the database's cluster refuses writes: has this node left it?"),
    ("isk full", "the database's disk is full"),
    ("is full", "the database's disk is full"),
    ("errno: 28", "the database's disk is full"),
];

fn why_no_writes(failure: &Failure) -> String {
    if let Some((_, why)) = NO_WRITES.iter().find(|(part, _)| failure.text.contains(part)) {
        return (*why).to_owned();
    }
    match failure.kind {
        FailureKind::LockWait => "everything is locked: FLUSH TABLES WITH READ LOCK, or a backup?".to_owned(),
        FailureKind::TooLong => {
            "a write gets no answer: is the database's disk full, or its group without a majority?".to_owned()
        }
        FailureKind::PoolBusy => "no database connection came free in time".to_owned(),
        FailureKind::NoConnection => "the database can't be reached".to_owned(),
        FailureKind::Denied => failure.text.clone(),
        FailureKind::Deadlock
        | FailureKind::Away
        | FailureKind::Duplicate
        | FailureKind::Check
        | FailureKind::RowCount
        | FailureKind::Wrong
        | FailureKind::Other => format!("the database takes no writes: {}", failure.text),
    }
}

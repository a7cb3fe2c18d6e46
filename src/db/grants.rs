//! What each account may do: one table, from which `server grants` prints its statements and the programs look for what
//! they lack.
//!
//! Each program logs in by its own account, so whoever gets hold of one program can do no more than that program does.
//! A column that an account doesn't change is closed to it: the sweeper can't move a price, nor can the server undo a
//! payment event.

mod text;

use Account::{Auditor, Purger, Repairer, Server, Sweeper};

use super::{Connection, Database, Failure, FailureKind, traced::send};
use crate::{config::Account, error::Error};

pub use text::statements;

/// Says who may do what to one table. The migrator may do what [`MIGRATOR`] says, to all tables.
#[derive(Debug, Clone, Copy)]
pub struct TableRights {
    /// The table's name.
    pub name: &'static str,
    /// Who may read it.
    pub select: &'static [Account],
    /// Who may insert rows.
    pub insert: &'static [Account],
    /// Who may delete rows.
    pub delete: &'static [Account],
    /// All its columns, and who may change each.
    pub update: &'static [(&'static str, &'static [Account])],
}

/// What the migrator may do, to the whole database. It deletes no rows.
pub const MIGRATOR: &str = "SELECT, INSERT, UPDATE, CREATE, ALTER, DROP, INDEX";

const NOBODY: &[Account] = &[];
const SERVER: &[Account] = &[Server];
const SWEEPER: &[Account] = &[Sweeper];
const PURGER: &[Account] = &[Purger];
/// Those who settle holds and orders.
const SELLERS: &[Account] = &[Server, Sweeper];
/// Those who audit.
const AUDITORS: &[Account] = &[Auditor, Repairer];
const EVERYBODY: &[Account] = &[Server, Sweeper, Auditor, Repairer, Purger];

/// Lists all tables and all their columns.
///
/// A program locks rows only in tables where it may change or delete something, since MySQL demands that for a lock.
pub const TABLES: &[TableRights] = &[
    TableRights {
        name: "products",
        select: EVERYBODY,
        insert: SERVER,
        delete: PURGER,
        update: &[
            ("id", NOBODY),
            ("name", SERVER),
            ("price_cents", SERVER),
            // A purge takes the units of deleted orders out of the total.
            ("total_stock", &[Server, Purger]),
            ("available_stock", &[Server, Sweeper, Repairer]),
            ("max_per_buyer", SERVER),
            ("starts_at", SERVER),
            ("ends_at", SERVER),
            ("paused", SERVER),
            ("request_id", NOBODY),
            ("request_digest", NOBODY),
            ("created_at", NOBODY),
        ],
    },
    TableRights {
        name: "holds",
        select: EVERYBODY,
        insert: SERVER,
        delete: PURGER,
        update: &[
            ("id", NOBODY),
            ("product_id", NOBODY),
            ("qty", NOBODY),
            ("unit_price_cents", NOBODY),
            ("status", SELLERS),
            ("expires_at", NOBODY),
            ("created_at", NOBODY),
            ("request_id", NOBODY),
            ("buyer_id", NOBODY),
        ],
    },
    TableRights {
        name: "orders",
        select: EVERYBODY,
        insert: SERVER,
        delete: PURGER,
        update: &[
            ("id", NOBODY),
            ("hold_id", NOBODY),
            ("product_id", NOBODY),
            ("qty", NOBODY),
            ("amount_cents", NOBODY),
            ("status", SELLERS),
            ("payment_due_at", NOBODY),
            ("created_at", NOBODY),
            ("request_id", NOBODY),
            ("buyer_id", NOBODY),
            ("settled_at", SELLERS),
            ("settled_by", SELLERS),
            ("payment_id", SERVER),
        ],
    },
    TableRights {
        name: "payment_webhooks",
        select: &[Server, Auditor, Repairer, Purger],
        insert: SERVER,
        delete: PURGER,
        update: &[
            ("id", NOBODY),
            ("idempotency_key", NOBODY),
            ("order_id", NOBODY),
            ("product_id", NOBODY),
            ("status", NOBODY),
            ("amount_cents", NOBODY),
            ("order_status", NOBODY),
            ("result", NOBODY),
            ("created_at", NOBODY),
            ("payment_id", NOBODY),
        ],
    },
    TableRights {
        name: "payment_exceptions",
        select: &[Server, Auditor, Repairer, Purger],
        insert: SERVER,
        delete: PURGER,
        update: &[
            ("id", NOBODY),
            ("kind", NOBODY),
            ("order_id", NOBODY),
            ("product_id", NOBODY),
            ("idempotency_key", NOBODY),
            ("amount_cents", NOBODY),
            ("created_at", NOBODY),
            ("resolved_at", SERVER),
            ("note", SERVER),
            ("accepted", SERVER),
        ],
    },
    TableRights {
        name: "stock_adjustments",
        select: &[Server, Auditor, Repairer, Purger],
        insert: SERVER,
        delete: PURGER,
        update: &[
            ("id", NOBODY),
            ("product_id", NOBODY),
            ("delta", NOBODY),
            ("reason", NOBODY),
            ("request_id", NOBODY),
            ("total_stock", NOBODY),
            ("available_stock", NOBODY),
            ("created_at", NOBODY),
        ],
    },
    TableRights {
        name: "operator_actions",
        select: &[Server, Auditor, Repairer],
        insert: SERVER,
        // The record of who did what stays, also when its products are purged.
        delete: NOBODY,
        update: &[
            ("id", NOBODY),
            ("created_at", NOBODY),
            ("principal", NOBODY),
            ("method", NOBODY),
            ("request_id", NOBODY),
            ("product_id", NOBODY),
            ("changes", NOBODY),
        ],
    },
    TableRights {
        name: "server_heartbeats",
        select: SERVER,
        insert: SERVER,
        delete: NOBODY,
        // MariaDB wants this right for each column that INSERT … ON DUPLICATE KEY UPDATE names.
        update: &[("slot", SERVER), ("beats", SERVER), ("last_beat_at", SERVER)],
    },
    TableRights {
        name: "sweeper_state",
        select: &[Server, Sweeper, Auditor, Repairer],
        insert: NOBODY,
        delete: NOBODY,
        update: &[
            ("id", NOBODY),
            ("runs", SWEEPER),
            ("holds_expired", SWEEPER),
            ("orders_cancelled", SWEEPER),
            ("stock_released", SWEEPER),
            ("last_run_at", SWEEPER),
            ("progress_at", SWEEPER),
            ("latest_at", SWEEPER),
        ],
    },
    TableRights {
        name: "audit_state",
        select: &[Server, Auditor, Repairer],
        insert: NOBODY,
        delete: NOBODY,
        update: &[("id", NOBODY), ("last_success_at", AUDITORS), ("findings", AUDITORS)],
    },
    TableRights {
        name: "__diesel_schema_migrations",
        select: SERVER,
        insert: NOBODY,
        delete: NOBODY,
        update: &[("version", NOBODY), ("run_on", NOBODY)],
    },
];

impl TableRights {
    /// Lists the columns that an account may change.
    pub fn changed_by(&self, account: Account) -> Vec<&'static str> {
        let may = self.update.iter().filter(|(_, accounts)| accounts.contains(&account));
        may.map(|(column, _)| *column).collect()
    }
}

impl Database {
    /// Returns the first right that this program lacks, as a sentence, or `None` where it has all rights of `account`.
    ///
    /// It explains statements that would need the rights, all in one round trip. To explain takes the same rights and
    /// touches no row. Where a table is locked, or the database takes no writes, nobody can tell, and nothing is lacking.
    ///
    /// # Errors
    /// The errors of [`Database::read`].
    pub async fn missing_right(&self, account: Account) -> Result<Option<String>, Error> {
        let text = text::probes(account);
        self.read("rights", async |conn: &mut Connection, _attempt| {
            match send(conn, &text).await.map_err(Failure::from) {
                Ok(()) => Ok(None),
                Err(Failure { kind: FailureKind::Denied, text }) => Ok(Some(text)),
                Err(failure) if failure.spares_connection() || failure.is_read_only() => Ok(None),
                Err(failure) => Err(failure),
            }
        })
        .await
    }

    /// Makes sure that this program has all rights of `account`, as far as that can be told now.
    ///
    /// # Errors
    /// `Internal` with the name of a right that it lacks, and the errors of [`Database::read`].
    pub async fn check_rights(&self, account: Account) -> Result<(), Error> {
        self.missing_right(account).await?.map_or(Ok(()), |text| Err(Error::Internal(text)))
    }
}

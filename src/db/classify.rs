//! What an error of the database means, by its text.
//!
//! diesel-async passes on the text of a server's error and drops its number, so only the text tells errors apart.
//! Sessions ask for English texts (`lc_messages`). The suite provokes each kind on the real servers.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::{columns::UnknownWord, denied::missing_right};

/// Says what to do about a failed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The server rolled the transaction back to break a deadlock or a certification conflict: run it again.
    Deadlock,
    /// A row stayed locked for innodb_lock_wait_timeout. Only the statement was rolled back: roll back, run again.
    LockWait,
    /// The server went away, is shutting down, became read-only, or killed the session: take another connection.
    Away,
    /// No connection could be made, while the connections that are there may be fine: try again.
    NoConnection,
    /// The run took too long, because of the server or of locks: drop this connection, run again on another.
    TooLong,
    /// A unique key is there already: run again, and see the row that has it.
    Duplicate,
    /// A CHECK, which is a last guard, refused a row: never run again, raise an alarm.
    Check,
    /// A statement of a script matched another number of rows than it had to: never run again, raise an alarm.
    RowCount,
    /// No connection of the pool came free in time.
    PoolBusy,
    /// The account lacks a right, which the text names: never run again.
    Denied,
    /// The statement or a value is wrong, which is a bug: never run again.
    Wrong,
    /// Any other failure: run again on another connection. A script that fails so may have committed.
    Other,
}

/// Describes a failed statement: what to do about it, and the text for the log.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What to do.
    pub kind: FailureKind,
    /// The database's or the driver's text.
    pub text: String,
}

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        let (kind, text) = (FailureKind::of(&error), error.to_string());
        let named = if kind == FailureKind::Denied { missing_right(&text) } else { None };
        Self { kind, text: named.unwrap_or(text) }
    }
}

impl FailureKind {
    /// Says what an error means.
    pub(super) fn of(error: &DieselError) -> Self {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => FailureKind::Duplicate,
            DieselError::DatabaseError(DatabaseErrorKind::CheckViolation, _) => FailureKind::Check,
            DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _) => FailureKind::Away,
            DieselError::QueryBuilderError(_) | DieselError::SerializationError(_) => FailureKind::Wrong,
            DieselError::DeserializationError(cause) if cause.is::<UnknownWord>() => FailureKind::Wrong,
            other => kind_of_text(&other.to_string()),
        }
    }

    /// Returns the kind as one word, for the metrics and the spans.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::LockWait => "lock_wait",
            Self::Away => "away",
            Self::NoConnection => "no_connection",
            Self::TooLong => "too_long",
            Self::Duplicate => "duplicate",
            Self::Check => "check",
            Self::RowCount => "row_count",
            Self::PoolBusy => "pool_busy",
            Self::Denied => "denied",
            Self::Wrong => "wrong",
            Self::Other => "other",
        }
    }
}

/// Lists parts of the texts of errors by which a database that can be read refuses a write.
const READ_ONLY: [&str; 5] = [
    "server is running with the --",
    "Running in read-only mode",
    "in a READ ONLY transaction",
    "' is read only",
    "impossible to write to binary log since BINLOG_FORMAT = STATEMENT",
];

/// Lists parts of errors' texts, and what they mean. The first that matches counts. The comments have the errors'
/// numbers.
const TEXTS: &[(&str, FailureKind)] = &[
    // 1213, and 3101 (group replication), 1020 (MariaDB's snapshot isolation).
    ("Deadlock found when trying to get lock", FailureKind::Deadlock),
    ("Plugin instructed the server to rollback", FailureKind::Deadlock),
    ("Record has changed since last read", FailureKind::Deadlock),
    // 1205.
    ("Lock wait timeout exceeded", FailureKind::LockWait),
    // 4025 (MariaDB). MySQL's 3819 comes as diesel's CheckViolation.
    ("CONSTRAINT `", FailureKind::Check),
    // 1690 of unsigned numbers, which only `Script::update` provokes.
    ("BIGINT UNSIGNED value is out of range", FailureKind::RowCount),
    // 1690, which `Script::check_time` provokes of the largest signed number.
    ("9223372036854775807 + (", FailureKind::LockWait),
    // 1290, 1836, 1792, 1036, and 1665. The last is about the session's binlog_format, and another session may have the
    // right one.
    ("server is running with the --", FailureKind::Away),
    ("Running in read-only mode", FailureKind::Away),
    ("in a READ ONLY transaction", FailureKind::Away),
    ("' is read only", FailureKind::Away),
    ("impossible to write to binary log since BINLOG_FORMAT = STATEMENT", FailureKind::Away),
    // 1053, 3032, 1047 (Galera's node that isn't ready).
    ("Server shutdown in progress", FailureKind::Away),
    ("currently in offline mode", FailureKind::Away),
    ("WSREP has not yet prepared node", FailureKind::Away),
    // Group replication: 3100, 3796 to 3798, and a node that leaves its group or changes its part in it.
    ("Error on observer while running replication hook", FailureKind::Away),
    ("group_replication_consistency", FailureKind::Away),
    ("Timeout exceeded for held statement", FailureKind::Away),
    ("Held statement aborted", FailureKind::Away),
    ("Held statement was aborted", FailureKind::Away),
    ("The Group Replication plugin is stopping", FailureKind::Away),
    ("All queries have been blocked while function", FailureKind::Away),
    ("The size of writeset data", FailureKind::Wrong),
    // 1040, 1203, 1226.
    ("Too many connections", FailureKind::Away),
    ("active connections", FailureKind::Away),
    ("has exceeded the '", FailureKind::Away),
    // 2013 and 2003 of MySQL Router.
    ("Lost connection to MySQL server", FailureKind::Away),
    ("Can't connect to remote MySQL server", FailureKind::Away),
    // 1927 (MariaDB), 3169 (MySQL), 1317, 4031.
    ("Connection was killed", FailureKind::Away),
    ("Session was killed", FailureKind::Away),
    ("Query execution was interrupted", FailureKind::Away),
    ("disconnected by the server", FailureKind::Away),
    // 1142 and 1143, 1044 and 1227.
    ("command denied", FailureKind::Denied),
    ("Access denied", FailureKind::Denied),
    // 1064, 1054, 1146, 1406, 1264, 1366 and 1292, 1048.
    ("error in your SQL syntax", FailureKind::Wrong),
    ("Unknown column", FailureKind::Wrong),
    ("doesn't exist", FailureKind::Wrong),
    ("Data too long", FailureKind::Wrong),
    ("Out of range value", FailureKind::Wrong),
    ("out of range in", FailureKind::Wrong),
    ("Incorrect ", FailureKind::Wrong),
    ("cannot be null", FailureKind::Wrong),
    // The driver's own.
    ("Input/output error", FailureKind::Away),
    ("Connection to the server is closed", FailureKind::Away),
    ("Packet out of order", FailureKind::Away),
];

fn kind_of_text(text: &str) -> FailureKind {
    TEXTS.iter().find(|(part, _)| text.contains(part)).map_or(FailureKind::Other, |(_, kind)| *kind)
}

impl Failure {
    /// Tells whether the connection can be used again after a ROLLBACK.
    pub(super) fn spares_connection(&self) -> bool {
        match self.kind {
            FailureKind::Deadlock
            | FailureKind::LockWait
            | FailureKind::Duplicate
            | FailureKind::Check
            | FailureKind::RowCount
            | FailureKind::Denied
            | FailureKind::Wrong => true,
            FailureKind::Away
            | FailureKind::NoConnection
            | FailureKind::TooLong
            | FailureKind::PoolBusy
            | FailureKind::Other => false,
        }
    }

    /// Tells whether a script that ends in COMMIT and fails like this may have committed.
    ///
    /// A deadlock, a lock wait, a duplicate key, a CHECK, a row count, a missing right or a wrong statement is the server's word that it
    /// stopped before the COMMIT.
    pub(super) fn leaves_commit_open(&self) -> bool {
        match self.kind {
            FailureKind::Away | FailureKind::TooLong | FailureKind::Other => true,
            FailureKind::Deadlock
            | FailureKind::LockWait
            | FailureKind::Duplicate
            | FailureKind::Check
            | FailureKind::RowCount
            | FailureKind::Denied
            | FailureKind::Wrong
            | FailureKind::NoConnection
            | FailureKind::PoolBusy => false,
        }
    }

    /// Tells whether the database refuses every write.
    pub(super) fn is_read_only(&self) -> bool {
        self.kind == FailureKind::Away && READ_ONLY.iter().any(|part| self.text.contains(part))
    }

    /// Tells whether an optimistic script fails like this where its plan no longer holds.
    pub(super) fn refutes_optimism(&self) -> bool {
        matches!(self.kind, FailureKind::RowCount | FailureKind::Duplicate)
    }

    /// Returns the name in metrics and logs.
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_means_what_its_number_means() {
        use FailureKind::*;
        for (text, kind) in [
            ("Deadlock found when trying to get lock; try restarting transaction", Deadlock),
            ("Lock wait timeout exceeded; try restarting transaction", LockWait),
            ("Record has changed since last read in table 'products'", Deadlock),
            ("Plugin instructed the server to rollback the current transaction.", Deadlock),
            ("The MySQL server is running with the --super-read-only option so it cannot execute", Away),
            ("The MariaDB server is running with the --read-only option so it cannot execute", Away),
            ("Server shutdown in progress", Away),
            ("The server is currently in offline mode", Away),
            ("Table 'holds' is read only", Away),
            (
                "Cannot execute statement: impossible to write to binary log since BINLOG_FORMAT = STATEMENT and at \
                 least one table uses a storage engine limited to row-based logging.",
                Away,
            ),
            ("Error on observer while running replication hook 'before_commit'.", Away),
            ("The option group_replication_consistency cannot be used on the current member state.", Away),
            ("Error while waiting for group transactions commit on group_replication_consistency= 'BEFORE'", Away),
            ("Error while waiting for transactions with group_replication_consistency= 'AFTER' to commit.", Away),
            ("Timeout exceeded for held statement while the new Group Replication primary member is", Away),
            ("Held statement aborted because the member is now in a minority", Away),
            ("Held statement was aborted because the member is leaving", Away),
            ("The Group Replication plugin is stopping, therefore new transactions are not allowed", Away),
            ("All queries have been blocked while function 'group_replication_set_as_primary()' runs", Away),
            ("Error while encoding data: The size of writeset data for the current transaction exceeds", Wrong),
            ("Too many connections", Away),
            ("User flashsale already has more than 'max_user_connections' active connections", Away),
            ("User 'flashsale' has exceeded the 'max_user_connections' resource (current value: 4)", Away),
            ("Lost connection to MySQL server at 'handshake: reading initial communication packet'", Away),
            ("Can't connect to remote MySQL server for client connected to '127.0.0.1:6446'", Away),
            ("Input/output error: can't parse: buf doesn't have enough data", Away),
            ("Driver error: `Connection to the server is closed.'", Away),
            ("CONSTRAINT `products_stock` failed for `test`.`products`", Check),
            ("BIGINT UNSIGNED value is out of range in '(18446744073709551615 + (row_count() <> 1))'", RowCount),
            ("BIGINT value is out of range in '(9223372036854775807 + (sysdate(6) > (@script_time)))'", LockWait),
            ("BIGINT value is out of range in '9223372036854775807 + (sysdate(6) > @`script_time`)'", LockWait),
            ("BIGINT value is out of range in '(`test`.`products`.`available_stock` + 1)'", Wrong),
            ("UPDATE command denied to user 's'@'localhost' for table 'holds'", Denied),
            ("Access denied for user 's'@'127.0.0.1' to database 'sale'", Denied),
            ("Access denied; you need (at least one of) the SUPER privilege(s) for this operation", Denied),
            ("Unknown column 'x' in 'field list'", Wrong),
            ("Got error 168 from storage engine", Other),
        ] {
            assert_eq!(kind_of_text(text), kind, "{text}");
        }
    }
}

//! Asks the database how it runs a statement, and judges that.

use crate::support::{database::RawConnection, mysqld::Engine};

/// What MySQL and MariaDB say in place of a table where there is nothing to read.
///
/// A unique key was looked up while the statement was planned, and isn't there; a part has no table; a value is the
/// last entry of an index; or a condition is false whatever the rows are.
const NOTHING_TO_READ: [&str; 4] =
    ["const table", "No tables used", "Select tables optimized away", "Impossible WHERE"];

/// Says how a statement goes into one table.
#[derive(Debug)]
struct Access {
    table: String,
    /// `ALL` and `index` read every row; const, eq_ref, ref and range do not.
    kind: String,
    key: String,
    extra: String,
}

/// Returns the tables that a statement goes into, each with its index, and fails the test where it reads too much.
///
/// A statement of the audit reads a page of rows, without a lock: it may scan and sort them.
pub(super) async fn plan(root: &mut RawConnection, engine: Engine, sql: &str, is_audit: bool) -> Vec<String> {
    let rows = root.query_rows(&format!("EXPLAIN FORMAT=TRADITIONAL {sql}")).await;
    let [table, kind, key, extra] = match engine {
        Engine::MariaDb => [2, 3, 5, 9],
        Engine::MySql => [2, 4, 6, 11],
    };
    let mut tables = Vec::new();
    for row in rows {
        let [table, kind, key, extra] = [table, kind, key, extra].map(|column| row[column].clone());
        let access = Access { table, kind, key, extra };
        if access.judge(sql, is_audit) {
            tables.push(access.describe(sql));
        }
    }
    tables.sort();
    tables.dedup();
    tables
}

impl Access {
    /// Fails the test where the statement reads too much. Returns whether it reads a stored table.
    fn judge(&self, sql: &str, is_audit: bool) -> bool {
        let Self { table, kind, key, extra } = self;
        if table == "NULL" {
            assert!(NOTHING_TO_READ.iter().any(|part| extra.contains(part)), "{sql}: {self:?}");
            return false;
        }
        // The result of another part of the statement, or a JSON list in its text.
        if table.starts_with('<') || table == "asked_for" {
            return false;
        }
        assert!(is_audit || !["ALL", "index"].contains(&kind.as_str()), "a full scan: {sql}: {self:?}");
        let forced = forced_indexes(sql, table);
        assert!(forced.is_empty() || forced.contains(key), "another index: {sql}: {self:?}");
        // A sort reads, and locks, all rows before the LIMIT counts.
        assert!(is_audit || !extra.contains("filesort"), "a sort: {sql}: {self:?}");
        // What buyers have is counted by the index alone.
        let counts = sql.contains("SUM(");
        assert!(key != "holds_buyer" || !counts || self.reads_only_index(), "reads rows: {sql}: {self:?}");
        true
    }

    fn describe(&self, sql: &str) -> String {
        let only_index = if self.reads_only_index() { ", index only" } else { "" };
        // MariaDB finds an exception by its id in an index that begins with another column, too.
        let is_free = forced_indexes(sql, &self.table).is_empty();
        let key = if is_free && self.key == "payment_exceptions_open" { "PRIMARY" } else { &self.key };
        format!("{} by {key}{only_index}", self.table)
    }

    fn reads_only_index(&self) -> bool {
        self.extra.contains("Using index") && !self.extra.contains("Using index condition")
    }
}

/// Returns the indexes that the statement forces for a table or an alias.
fn forced_indexes(sql: &str, table: &str) -> Vec<String> {
    let sql = sql.replace('`', "");
    let forces = format!("{table} FORCE INDEX (");
    sql.split(&forces).skip(1).map(|rest| rest.split_once(')').unwrap().0.to_owned()).collect()
}

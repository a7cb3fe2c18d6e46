//! What `sweeper audit` checks: the tables against the rules of the sale, and against each other.
//!
//! The checks share no code with the transactions that keep the rules.
//!
//! InnoDB gives each statement one consistent snapshot, and no statement here locks anything. So what one commit
//! changed is seen as a whole or not at all, however busy the sale is.
//!
//! A table is read by ranges of its ids. That keeps memory bounded and each snapshot short: a snapshot that is held for
//! long keeps the database from purging. [`suspects`] finds the rows of a range that have any fault, in one pass.
//! [`confirm`] looks at these rows once more, in a snapshot of its own. Only what both saw is a finding.
//!
//! The checks are data. The condition of a check is SQL that is true for a faulty row, and NULL where there is nothing
//! to compare.
//!
//! Times that contradict each other are a fault where one transaction wrote both, or decided one by the other. It is
//! different where two transactions read the clock one after the other. If the clock goes back between them, honest
//! rows contradict each other as well. They are reported as [`CLOCK_WENT_BACK`], which is nobody's fault. A clock that
//! jumps ahead contradicts nothing.

mod holds;
mod keys;
mod orders;
mod payments;
mod products;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};

use super::{Connection, Failure, FailureKind, statement::Statement};

pub use keys::faults as key_faults;

/// Names the kind of finding that can be repaired.
pub const STOCK_NOT_CONSERVED: &str = "stock_not_conserved";

/// Names the kind of finding that is no fault: the database's clock went back between two reads of it.
pub const CLOCK_WENT_BACK: &str = "clock_went_back";

/// Limits the suspects that one statement confirms.
pub const CONFIRM_MAX: usize = 256;

/// Lists all tables. The tables from which stock is derived come before the products.
pub const TABLES: [Table; 6] =
    [holds::HOLDS, orders::ORDERS, payments::WEBHOOKS, payments::EXCEPTIONS, products::ADJUSTMENTS, products::PRODUCTS];

/// Says how many rows of a table one statement looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One row, because each row has its own sums.
    One,
    /// The number of rows that the audit was told to take.
    Page,
}

/// Says what to do about [`CLOCK_WENT_BACK`].
const MIND_THE_CLOCK: &str = "nothing in the row is wrong: the clock of the database's machine was set back, so let it \
    be slewed and not stepped; where it never was, somebody changed the row";

/// Describes a table, and the checks that its rows have to pass.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The table's name.
    pub name: &'static str,
    /// How many rows a statement looks at.
    pub rows: Rows,
    /// The column of a row's own id.
    id: &'static str,
    /// SQL of the rows in the range `{rows}`, with what they are compared to.
    from: &'static str,
    /// SQL of the ids that a finding names.
    ids: &'static str,
    /// The checks that its rows have to pass.
    pub checks: &'static [Check],
}

/// Describes one condition that every row of a table has to meet.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The check's name in the log.
    pub kind: &'static str,
    /// SQL of the fault: it is true for a row that doesn't meet the condition.
    fault: &'static str,
    /// What should be, as a list of SQL values.
    expected: &'static str,
    /// What is, as a list of SQL values.
    found: &'static str,
    /// What a person should do.
    pub what_to_do: &'static str,
}

/// Describes one thing that the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Which check failed.
    pub kind: &'static str,
    /// The id of the row's product.
    pub product_id: Option<i64>,
    /// The id of the product of the row that this row refers to. It differs only where that is the fault.
    pub related_product_id: Option<i64>,
    /// The hold's id.
    pub hold_id: Option<i64>,
    /// The order's id.
    pub order_id: Option<i64>,
    /// The payment event's id.
    pub webhook_id: Option<i64>,
    /// The payment exception's id.
    pub exception_id: Option<i64>,
    /// The stock adjustment's id.
    pub adjustment_id: Option<i64>,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// What a person should do.
    pub what_to_do: &'static str,
}

impl Finding {
    fn of_kind(kind: &'static str, what_to_do: &'static str) -> Self {
        Self { kind, what_to_do, ..Self::default() }
    }
}

/// Bounds a range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The id before the range.
    pub after: i64,
    /// The last id of the range.
    pub up_to: i64,
}

impl Table {
    fn from(&self, rows: &str) -> String {
        self.from.replace("{rows}", rows)
    }
}

/// Returns the highest id of a table, or 0 where the table is empty.
///
/// # Errors
/// The errors of the statement.
pub async fn last_id(conn: &mut Connection, table: &Table) -> Result<i64, Failure> {
    let text = format!("SELECT COALESCE(MAX(id), 0) AS number FROM {}", table.name);
    number(conn, Statement::new(&text)).await
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

async fn number(conn: &mut Connection, statement: Statement) -> Result<i64, Failure> {
    let rows: Vec<Number> = statement.rows(conn).await?;
    let none = || Failure { kind: FailureKind::Wrong, text: "a count without a row".to_owned() };
    rows.first().map(|row| row.number).ok_or_else(none)
}

/// Finds the next `limit` rows of a table within the range, by its primary key.
///
/// Returns the last of their ids, and their number. `None` means that there are none.
///
/// # Errors
/// The errors of the statement.
pub async fn page(
    conn: &mut Connection,
    table: &Table,
    Range { after, up_to }: Range,
    limit: usize,
) -> Result<Option<(i64, i64)>, Failure> {
    #[derive(QueryableByName)]
    struct Page {
        #[diesel(sql_type = Nullable<BigInt>)]
        last: Option<i64>,
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let text = format!(
        "SELECT MAX(id) AS last, COUNT(*) AS count FROM (SELECT id FROM {} FORCE INDEX (PRIMARY) \
        WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) AS page",
        table.name
    );
    let limit = limit.try_into().unwrap_or(i64::MAX);
    let rows: Vec<Page> = Statement::new(&text).integer(after).integer(up_to).integer(limit).rows(conn).await?;
    Ok(rows.into_iter().next().and_then(|page| Some((page.last?, page.count))))
}

/// Finds the rows of a range that fail any check. Returns each failed check with the ids of its rows.
///
/// # Errors
/// The errors of the statement.
pub async fn suspects(
    conn: &mut Connection,
    table: &Table,
    Range { after, up_to }: Range,
) -> Result<Vec<(&'static Check, Vec<i64>)>, Failure> {
    #[derive(QueryableByName)]
    struct Suspect {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = Text)]
        kinds: String,
    }
    let statement = Statement::new(&table.suspects_sql()).integer(after).integer(up_to);
    let mut rows: Vec<Suspect> = statement.rows(conn).await?;
    rows.sort_by_key(|row| row.id);
    rows.dedup_by_key(|row| row.id);
    let mut suspects: Vec<_> = table.checks.iter().map(|check| (check, Vec::new())).collect();
    for (check, ids) in &mut suspects {
        let fails = |row: &&Suspect| row.kinds.split(',').any(|kind| kind == check.kind);
        ids.extend(rows.iter().filter(fails).map(|row| row.id));
    }
    suspects.retain(|(_, ids)| !ids.is_empty());
    Ok(suspects)
}

impl Table {
    /// Returns the SQL of [`suspects`].
    pub fn suspects_sql(&self) -> String {
        let kinds: Vec<String> =
            self.checks.iter().map(|check| format!("IF({}, '{}', NULL)", check.fault, check.kind)).collect();
        format!(
            "SELECT {} AS id, CONCAT_WS(',', {}) AS kinds FROM {} HAVING kinds <> ''",
            self.id,
            kinds.join(", "),
            self.from("id > ? AND id <= ?")
        )
    }

    fn confirm_text(&self, check: &Check) -> (String, String) {
        let Check { fault, expected, found, .. } = check;
        let from = self.from("id IN {ids}");
        let (before, after) = from.split_once("{ids}").unwrap_or((&from, ""));
        let select = format!(
            "SELECT {}, CONCAT_WS('', {expected}) AS expected, CONCAT_WS('', {found}) AS found FROM {before}",
            self.ids
        );
        (select, format!("{after} WHERE {fault} ORDER BY {}", self.id))
    }
}

#[derive(QueryableByName)]
struct FindingRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    product_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    related_product_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    hold_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    order_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    webhook_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    exception_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    adjustment_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    expected: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    found: Option<String>,
}

/// Looks at suspects again, in another snapshot, and returns those that still fail the check.
///
/// `ids` has from 1 to [`CONFIRM_MAX`] ids. The findings come in the order of their ids.
///
/// # Errors
/// The errors of the statement.
pub async fn confirm(
    conn: &mut Connection,
    table: &Table,
    check: &Check,
    ids: &[i64],
) -> Result<Vec<Finding>, Failure> {
    let (select, rest) = table.confirm_text(check);
    let rows: Vec<FindingRow> = Statement::new(&select).integers(ids, &rest).rows(conn).await?;
    let finding = |row: FindingRow| Finding {
        product_id: row.product_id,
        related_product_id: row.related_product_id,
        hold_id: row.hold_id,
        order_id: row.order_id,
        webhook_id: row.webhook_id,
        exception_id: row.exception_id,
        adjustment_id: row.adjustment_id,
        expected: row.expected.unwrap_or_default(),
        found: row.found.unwrap_or_default(),
        ..Finding::of_kind(check.kind, check.what_to_do)
    };
    Ok(rows.into_iter().map(finding).collect())
}

/// Counts what no sweep has tidied up yet, which is no fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Untidy {
    /// Active holds whose time is over.
    pub holds_unswept: i64,
    /// Pending orders whose payment is overdue.
    pub orders_overdue: i64,
}

/// Counts what is untidy, by the indexes that a sweep reads.
///
/// # Errors
/// The errors of the statements.
pub async fn untidy(conn: &mut Connection) -> Result<Untidy, Failure> {
    let holds = "SELECT COUNT(*) AS number FROM holds FORCE INDEX (holds_expiry) \
        WHERE status = 'active' AND expires_at < UTC_TIMESTAMP(6)";
    let orders = "SELECT COUNT(*) AS number FROM orders FORCE INDEX (orders_due) \
        WHERE status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)";
    Ok(Untidy {
        holds_unswept: number(conn, Statement::new(holds)).await?,
        orders_overdue: number(conn, Statement::new(orders)).await?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_kind_names_one_check_and_no_other_text_takes_a_value() {
        let (mut kinds, mut names) = (BTreeSet::new(), BTreeSet::new());
        for table in TABLES {
            assert_eq!(table.from.matches("{rows}").count(), 1, "{}", table.name);
            assert_eq!(table.suspects_sql().matches('?').count(), 2, "{}", table.name);
            for check in table.checks {
                let is_first = kinds.insert((table.name, check.kind))
                    && (check.kind == CLOCK_WENT_BACK || names.insert(check.kind));
                assert!(is_first, "{} twice", check.kind);
                assert!(check.kind.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{}", check.kind);
                let (before, after) = table.confirm_text(check);
                assert!(!before.contains('?') && !after.contains('?'), "{}", check.kind);
            }
        }
    }
}

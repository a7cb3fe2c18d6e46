//! How SQL is sent: `Statement` reads rows, [`Script`] writes and commits.
//!
//! Round trips and PREPAREs inside a row lock decide how fast a hot product sells. So a transaction reads by
//! statements of few fixed shapes, each prepared once per connection, and decides; all that it writes then goes to
//! the server as one text that ends in COMMIT. The server stops at the first statement that fails, so a script commits
//! as a whole or not at all. What a script contains is made by [`Script`]'s own functions from integers, hex literals
//! and timestamps: no text of a caller is ever part of it.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    QueryResult,
    mysql::Mysql,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{BigInt, Binary, Untyped},
};
use diesel_async::RunQueryDsl;

use super::Connection;

/// A value for a `?` of a statement.
#[derive(Debug, Clone)]
enum Value {
    Integer(i64),
    Bytes(Vec<u8>),
}

/// SQL of a moment, which [`Statement::moment`] gives the value.
pub(super) const MOMENT: &str = "TIMESTAMP'1970-01-01 00:00:00' + INTERVAL ? MICROSECOND";

/// SQL with `?` for its values. The text is one of few, so that the server prepares it once per connection: lists are
/// padded to a power of two.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    text: String,
    values: Vec<Value>,
}

impl Statement {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    pub(super) fn integer(mut self, value: i64) -> Self {
        self.values.push(Value::Integer(value));
        self
    }

    pub(super) fn bytes(mut self, value: &[u8]) -> Self {
        self.values.push(Value::Bytes(value.to_vec()));
        self
    }

    /// A value for [`MOMENT`].
    pub(super) fn moment(self, value: SystemTime) -> Self {
        self.integer(DateTime::<Utc>::from(value).timestamp_micros())
    }

    fn list(mut self, values: impl ExactSizeIterator<Item = Value>, rest: &str) -> Self {
        let shape = values.len().next_power_of_two();
        let places = self.values.len() + shape;
        self.values.extend(values);
        let Some(last) = self.values.last().cloned() else { return self };
        self.values.resize(places, last);
        self.text.push_str("(?");
        for _ in 1..shape {
            self.text.push_str(",?");
        }
        self.text.push(')');
        self.text.push_str(rest);
        self
    }

    /// Adds `(?,?,…)` for at least one integer, and the rest of the text.
    pub(super) fn integers(self, values: &[i64], rest: &str) -> Self {
        self.list(values.iter().map(|value| Value::Integer(*value)), rest)
    }

    /// Adds `(?,?,…)` for at least one byte string, and the rest of the text.
    pub(super) fn byte_strings(self, values: &[&[u8]], rest: &str) -> Self {
        self.list(values.iter().map(|value| Value::Bytes(value.to_vec())), rest)
    }

    pub(super) async fn rows<R>(self, conn: &mut Connection) -> QueryResult<Vec<R>>
    where
        R: diesel::deserialize::QueryableByName<Mysql> + Send + 'static,
    {
        self.load(conn).await
    }
}

impl QueryFragment<Mysql> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for (index, part) in self.text.split('?').enumerate() {
            if index > 0 {
                match values.next() {
                    Some(Value::Integer(value)) => out.push_bind_param::<BigInt, i64>(value)?,
                    Some(Value::Bytes(value)) => out.push_bind_param::<Binary, Vec<u8>>(value)?,
                    None => return Err(diesel::result::Error::QueryBuilderError("a ? without a value".into())),
                }
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

/// Without a static id, diesel's cache of prepared statements goes by the text.
impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

/// What a transaction writes: statements that are sent with its COMMIT.
#[derive(Debug, Default)]
pub struct Script {
    text: String,
    asks_for: AsksFor,
    /// Whether it changes rows, if only some that it doesn't match.
    writes: bool,
    /// Whether its last statement is a SET by [`Script::set`].
    ends_in_set: bool,
}

/// What somebody has to know of a script that has committed, which takes a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AsksFor {
    /// Nothing.
    #[default]
    Nothing,
    /// The ids of its last INSERT.
    Ids,
    /// These, and its own moment, @moment.
    IdsAndMoment,
}

/// The ids that a script's last INSERT was given, in the order of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct InsertedIds {
    pub(super) first: i64,
    /// `@@auto_increment_increment`, at least 1; more than 1 on multi-primary set-ups.
    pub(super) step: i64,
}

impl InsertedIds {
    /// The id of row `index`, from 0.
    pub fn get(self, index: usize) -> i64 {
        self.first + self.step * i64::try_from(index).unwrap_or(i64::MAX)
    }
}

/// What a committed script was answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inserted {
    pub(super) ids: InsertedIds,
    pub(super) moment: Option<SystemTime>,
}

impl Script {
    /// Adds a statement that has to match `rows` rows. Another number fails the script before its COMMIT: these are
    /// rows that the transaction has locked and read, so it would be a bug or a lost lock.
    pub(super) fn write(&mut self, rows: usize, statement: fmt::Arguments<'_>) {
        self.writes = true;
        self.push(statement);
        // One more than the largest unsigned number is an error of the server. Not by DO: MariaDB's swallows errors.
        // And not by a subquery of two rows, whose parsing and planning cost the database 25 µs a script.
        self.set(format_args!("@rows = {} + (ROW_COUNT() <> {rows})", u64::MAX));
    }

    /// Adds a SELECT that locks. Nobody reads what it finds.
    pub(super) fn lock(&mut self, select: fmt::Arguments<'_>) {
        self.push(select);
    }

    /// Adds an INSERT of several rows, whose ids [`super::Database::transaction`] then returns. It has to be the
    /// script's last INSERT.
    pub(super) fn insert_for_ids(&mut self, into: &str, rows: impl Iterator<Item = String>) {
        self.asks_for = AsksFor::Ids;
        self.insert(into, rows);
    }

    /// As [`Script::insert_for_ids`], of rows that may say @moment: the time when the script gets there, after the wait for
    /// the locks that it takes before; and @expires_at, which is `ttl` later. [`super::Database::transaction`] returns the
    /// moment, too.
    pub(super) fn insert_at_its_moment(&mut self, into: &str, ttl: Duration, rows: impl Iterator<Item = String>) {
        self.set(format_args!("@moment = SYSDATE(6)"));
        // Not in the same SET, which takes its values before it assigns any.
        self.push(format_args!("SET @expires_at = @moment + INTERVAL {} MICROSECOND", ttl.as_micros()));
        self.insert(into, rows);
        self.asks_for = AsksFor::IdsAndMoment;
    }

    /// Adds an INSERT of several rows.
    pub(super) fn insert(&mut self, into: &str, rows: impl Iterator<Item = String>) {
        self.writes = true;
        self.push(format_args!("INSERT INTO {into} VALUES "));
        for (index, row) in rows.enumerate() {
            self.text.push_str(if index == 0 { "" } else { "," });
            self.text.push_str(&row);
        }
    }

    /// Adds an assignment, to the SET that the script ends in if it does: a statement less to be parsed and answered. Its
    /// value is taken before that SET assigns anything.
    fn set(&mut self, assignment: fmt::Arguments<'_>) {
        if self.ends_in_set {
            // Writing to a String can't fail.
            let _always_ok = self.text.write_fmt(format_args!(", {assignment}"));
        } else {
            self.push(format_args!("SET {assignment}"));
            self.ends_in_set = true;
        }
    }

    fn push(&mut self, statement: fmt::Arguments<'_>) {
        self.ends_in_set = false;
        if !self.text.is_empty() {
            self.text.push(';');
        }
        // Writing to a String can't fail.
        let _always_ok = self.text.write_fmt(statement);
    }

    /// What has to be known once it has committed.
    pub(super) fn asks_for(&self) -> AsksFor {
        self.asks_for
    }

    /// Whether it changes rows. A COMMIT of none says nothing of the database.
    pub(super) fn writes(&self) -> bool {
        self.writes
    }

    /// The text to send: all statements, then COMMIT.
    pub(super) fn into_commit(mut self) -> String {
        self.push(format_args!("COMMIT"));
        self.text
    }

    /// The text to send where the transaction has not begun: BEGIN, all statements, COMMIT.
    pub(super) fn into_transaction(self) -> String {
        format!("BEGIN;{}", self.into_commit())
    }
}

/// Integers as an SQL list, `1,2,3`.
pub(super) fn list(values: impl IntoIterator<Item = i64>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(",")
}

/// Bytes as an SQL literal, or NULL.
pub(super) fn bytes_or_null(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "NULL".to_owned(), bytes)
}

/// Bytes as an SQL literal.
pub(super) fn bytes(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len() * 2 + 3);
    text.push_str("x'");
    push_hex(&mut text, value);
    text.push('\'');
    text
}

/// Adds bytes as digits, two for each.
pub(super) fn push_hex(text: &mut String, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in value {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// An integer or NULL.
pub(super) fn integer_or_null(value: Option<i64>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}

/// A moment as an SQL literal, to the microsecond, UTC.
pub(super) fn timestamp(value: SystemTime) -> String {
    DateTime::<Utc>::from(value).format("'%Y-%m-%d %H:%M:%S%.6f'").to_string()
}

/// A moment or NULL.
pub(super) fn timestamp_or_null(value: Option<SystemTime>) -> String {
    value.map_or_else(|| "NULL".to_owned(), timestamp)
}

/// A DATETIME(6), which is UTC in every session, as a moment.
pub(super) fn moment(value: NaiveDateTime) -> SystemTime {
    value.and_utc().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_padded_to_a_power_of_two_with_its_last_value() {
        let statement = Statement::new("a = ? AND b IN ").integer(7).integers(&[1, 2, 3], " AND c = ?").integer(9);
        assert_eq!(statement.text, "a = ? AND b IN (?,?,?,?) AND c = ?");
        let values: Vec<String> = statement.values.iter().map(|value| format!("{value:?}")).collect();
        assert_eq!(values, ["Integer(7)", "Integer(1)", "Integer(2)", "Integer(3)", "Integer(3)", "Integer(9)"]);
    }

    #[test]
    fn bytes_become_a_hex_literal_whatever_they_are() {
        assert_eq!(bytes(b"a'\\\0\xff"), "x'61275c00ff'");
        assert_eq!(bytes_or_null(None), "NULL");
    }

    #[test]
    fn a_moment_keeps_its_microseconds() {
        let moment_in = SystemTime::UNIX_EPOCH + Duration::from_micros(1_737_981_120_000_001);
        assert_eq!(timestamp(moment_in), "'2025-01-27 12:32:00.000001'");
    }

    #[test]
    fn a_script_ends_in_commit_and_checks_its_rows() {
        let mut script = Script::default();
        script.insert_for_ids("t (a)", ["(1)".to_owned(), "(2)".to_owned()].into_iter());
        script.write(1, format_args!("UPDATE u SET b = {} WHERE id = {}", 3, 4));
        assert_eq!(script.asks_for(), AsksFor::Ids);
        assert_eq!(
            script.into_commit(),
            "INSERT INTO t (a) VALUES (1),(2);UPDATE u SET b = 3 WHERE id = 4;\
             SET @rows = 18446744073709551615 + (ROW_COUNT() <> 1);COMMIT"
        );
    }

    #[test]
    fn a_moment_is_taken_by_the_statement_that_checks_the_rows_before_it() {
        let mut script = Script::default();
        script.write(1, format_args!("UPDATE u SET b = 3"));
        script.insert_at_its_moment("t (a)", Duration::from_micros(5), ["(@moment)".to_owned()].into_iter());
        assert_eq!(
            script.into_transaction(),
            "BEGIN;UPDATE u SET b = 3;SET @rows = 18446744073709551615 + (ROW_COUNT() <> 1), @moment = SYSDATE(6);\
             SET @expires_at = @moment + INTERVAL 5 MICROSECOND;INSERT INTO t (a) VALUES (@moment);COMMIT"
        );
    }
}

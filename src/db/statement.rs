//! Reads whose SQL stays text, because diesel can't express them.
//!
//! These are sums and counts over several tables in one snapshot, a list of buyers out of JSON, what a session knows of
//! itself, and the audit's checks. Where such a text reads a whole row of a table, [`columns_of`] writes the columns, so
//! that the row is still typed by the schema.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    QueryResult, Selectable,
    mysql::Mysql,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{BigInt, Binary, Untyped},
};
use diesel_async::RunQueryDsl;

use super::{Connection, read::padded, render, traced::traced};
use crate::spans::database::Statement as Span;

/// Holds a value for a `?` of a statement.
#[derive(Debug, Clone)]
enum Value {
    Integer(i64),
    Bytes(Vec<u8>),
}

/// Holds SQL with `?` for its values. Lists are padded, so that few texts have to be prepared on each connection.
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

    /// Adds `(?,?,…)` for at least one integer, and the rest of the text.
    pub(super) fn integers(mut self, values: &[i64], rest: &str) -> Self {
        for (index, value) in padded(values.to_vec()).into_iter().enumerate() {
            self.text.push_str(if index == 0 { "(?" } else { ",?" });
            self.values.push(Value::Integer(value));
        }
        self.text.push(')');
        self.text.push_str(rest);
        self
    }

    pub(super) async fn rows<R>(self, conn: &mut Connection) -> QueryResult<Vec<R>>
    where
        R: diesel::deserialize::QueryableByName<Mysql> + Send + 'static,
    {
        let span = Span::start(&self.text);
        traced(span, self.load(conn)).await
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

/// Has no static id, so that diesel's cache of prepared statements goes by the text.
impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

/// Writes the columns of a table's row as a SELECT lists them: `` `products`.`id`, … ``.
pub(super) fn columns_of<R>() -> QueryResult<String>
where
    R: Selectable<Mysql>,
    R::SelectExpression: QueryFragment<Mysql>,
{
    render::text(&R::construct_selection())
}

/// Converts a DATETIME(6) to a time: it is UTC in every session.
pub(super) fn system_time(value: NaiveDateTime) -> SystemTime {
    value.and_utc().into()
}

/// Returns the last second that a DATETIME has, at the end of the year 9999.
pub(super) fn latest() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

/// Converts a time to a DATETIME(6).
pub(super) fn datetime(value: SystemTime) -> NaiveDateTime {
    DateTime::<Utc>::from(value).naive_utc()
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
}

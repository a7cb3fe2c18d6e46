//! Typed reads: a query that diesel checks against the schema, sent as a prepared statement.
//!
//! diesel never keeps the prepared statement of a query with a list or a piece of SQL text, and a PREPARE inside a row
//! lock costs a hot product a round trip. So a query becomes a text first, and each text is prepared once per connection.
//! Texts have to be few: lists are padded ([`padded`]).

use std::{fmt, marker::PhantomData};

use diesel::{
    QueryResult,
    deserialize::FromSqlRow,
    dsl::sql,
    expression::{QueryMetadata, SqlLiteral},
    mysql::Mysql,
    query_builder::{AstPass, MoveableBindCollector, Query, QueryFragment, QueryId},
    query_dsl::CompatibleType,
    sql_types::Datetime,
};
use diesel_async::RunQueryDsl;

use super::{
    Connection,
    render::{Index, Rendered},
    traced::traced,
};
use crate::spans::database::Statement as Span;

/// Holds a typed query with its text made. `S` is the SQL type of its columns.
pub(super) struct Read<S> {
    rendered: QueryResult<Rendered>,
    columns: PhantomData<fn() -> S>,
}

impl<S> fmt::Debug for Read<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Read").field(&self.rendered).finish()
    }
}

/// Makes the text of a query. [`Read::rows`] returns the error if that fails.
pub(super) fn read<Q>(query: Q) -> Read<Q::SqlType>
where
    Q: Query + QueryFragment<Mysql>,
{
    Read { rendered: Rendered::of(&query), columns: PhantomData }
}

impl<S> Read<S> {
    /// Makes the database use this index for the index's table.
    pub(super) fn force_index(mut self, index: Index) -> Self {
        self.rendered = self.rendered.and_then(|mut rendered| rendered.force_index(index).map(|()| rendered));
        self
    }

    /// Joins queries with the same columns: one statement, so that all of them see one moment.
    pub(super) fn union_all(reads: impl IntoIterator<Item = Self>) -> Self {
        let rendered = reads.into_iter().map(|read| read.rendered).reduce(|joined, next| {
            let (mut joined, next) = (joined?, next?);
            joined.text.push_str(") UNION ALL (");
            joined.text.push_str(&next.text);
            joined.values.append_bind_data(&next.values);
            Ok(joined)
        });
        let none = || Err(diesel::result::Error::QueryBuilderError("a union of no queries".into()));
        let mut rendered = rendered.unwrap_or_else(none);
        if let Ok(rendered) = &mut rendered {
            rendered.text = format!("({})", rendered.text);
        }
        Self { rendered, columns: PhantomData }
    }

    /// Sends the query, and reads its rows.
    pub(super) async fn rows<R>(self, conn: &mut Connection) -> QueryResult<Vec<R>>
    where
        S: CompatibleType<R, Mysql> + Send + 'static,
        R: FromSqlRow<S::SqlType, Mysql> + Send + 'static,
        Mysql: QueryMetadata<S>,
    {
        let prepared = Prepared { rendered: self.rendered?, columns: self.columns };
        let span = Span::start(&prepared.rendered.text);
        traced(span, prepared.load(conn)).await
    }

    /// Sends the query, and reads its first row.
    pub(super) async fn first<R>(self, conn: &mut Connection) -> QueryResult<Option<R>>
    where
        S: CompatibleType<R, Mysql> + Send + 'static,
        R: FromSqlRow<S::SqlType, Mysql> + Send + 'static,
        Mysql: QueryMetadata<S>,
    {
        Ok(self.rows(conn).await?.into_iter().next())
    }
}

/// Holds a text that diesel prepares once per connection.
struct Prepared<S> {
    rendered: Rendered,
    columns: PhantomData<fn() -> S>,
}

impl<S> QueryFragment<Mysql> for Prepared<S> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        out.push_sql(&self.rendered.text);
        out.push_bind_collector_data(&self.rendered.values)
    }
}

/// Has no static id, so that diesel's cache of prepared statements goes by the text.
impl<S> QueryId for Prepared<S> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S> Query for Prepared<S> {
    type SqlType = S;
}

/// Repeats the last value of a list until its length is a power of two. So lists of all lengths make few texts.
pub(super) fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// Returns SQL of the time when the statement began. Sessions are in UTC.
pub(super) fn statement_time() -> SqlLiteral<Datetime> {
    sql("UTC_TIMESTAMP(6)")
}

/// Returns SQL of the time when the row is read, after the wait for its lock.
pub(super) fn row_time() -> SqlLiteral<Datetime> {
    sql("SYSDATE(6)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_padded_to_a_power_of_two_with_its_last_value() {
        assert_eq!(padded(vec![1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded(vec![1]), [1]);
        assert!(padded(Vec::<i64>::new()).is_empty());
    }
}

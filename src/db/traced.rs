//! Round trips to the database, each with its span.

use diesel::QueryResult;
use diesel_async::SimpleAsyncConnection;

use super::{Connection, FailureKind};
use crate::spans::database::Statement;

/// Waits for the rows of a query, in the span that began before it was sent.
pub(super) async fn traced<T>(span: Statement, rows: impl Future<Output = QueryResult<T>>) -> QueryResult<T> {
    let rows = rows.await;
    span.ended(rows.as_ref().err().map(|error| FailureKind::of(error).name()));
    rows
}

/// Sends statements that return no rows.
pub(super) async fn send(conn: &mut Connection, text: &str) -> QueryResult<()> {
    traced(Statement::start(text), conn.batch_execute(text)).await
}

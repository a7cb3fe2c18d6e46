//! Table `sweeper_state`: one row with the totals of all sweeps, and when a sweep last showed that it works.
//!
//! A sweep is a short process, and nobody could read counters of its own. So the servers show these totals, which
//! `sale_figures` reads.

use diesel::{
    ExpressionMethods, NullableExpressionMethods, QueryDsl, QueryableByName,
    dsl::{Eq, sql},
    expression::SqlLiteral,
    sql_types::{BigInt, Datetime},
};

use super::{
    Connection, Failure, Script,
    named_lock::NamedLock,
    read::{read as select, statement_time},
    schema::sweeper_state,
    statement::Statement,
};
use crate::error::Error;

/// Identifies the one row.
const ROW: i8 = 1;

/// Names the assignments by which every write of a sweep also shows that the sweep works.
///
/// A clock that has gone back doesn't lower latest_at.
type Progress =
    (Eq<sweeper_state::progress_at, SqlLiteral<Datetime>>, Eq<sweeper_state::latest_at, SqlLiteral<Datetime>>);

fn progress() -> Progress {
    let latest = sql("GREATEST(latest_at, UTC_TIMESTAMP(6))");
    (sweeper_state::progress_at.eq(statement_time()), sweeper_state::latest_at.eq(latest))
}

/// Whether the one row is there, as far as the database can be read.
pub async fn is_there(conn: &mut Connection) -> Result<bool, Failure> {
    let row: Option<i8> = select(sweeper_state::table.find(ROW).select(sweeper_state::id)).first(conn).await?;
    Ok(row.is_some())
}

/// Adds what one transaction of a sweep did. It is part of that transaction.
pub fn add(script: &mut Script, holds_expired: usize, orders_cancelled: usize, stock_released: i64) {
    let count = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
    let changes = (
        sweeper_state::holds_expired.eq(sweeper_state::holds_expired + count(holds_expired)),
        sweeper_state::orders_cancelled.eq(sweeper_state::orders_cancelled + count(orders_cancelled)),
        sweeper_state::stock_released.eq(sweeper_state::stock_released + stock_released),
        progress(),
    );
    script.update(1, diesel::update(sweeper_state::table.find(ROW)).set(changes));
}

/// Records that the sweep works, on the connection of its lock. That keeps the lock, and shows whether it is still
/// there.
///
/// # Errors
/// `Unavailable` where the lock is lost.
pub async fn record_progress(lock: &mut NamedLock) -> Result<(), Error> {
    lock.execute(diesel::update(sweeper_state::table.find(ROW)).set(progress())).await
}

/// Reads how many seconds ago a sweep last recorded that it works. A negative number means that the clock has gone back
/// since.
pub async fn seconds_since_progress(conn: &mut Connection) -> Result<Option<i64>, Failure> {
    #[derive(QueryableByName)]
    struct Age {
        #[diesel(sql_type = BigInt)]
        seconds: i64,
    }
    let text = "SELECT CAST(TIMESTAMPDIFF(SECOND, progress_at, UTC_TIMESTAMP(6)) AS SIGNED) AS seconds \
        FROM sweeper_state WHERE id = 1";
    let rows: Vec<Age> = Statement::new(text).rows(conn).await?;
    Ok(rows.first().map(|row| row.seconds))
}

/// Counts a sweep that ended well.
pub fn finish(script: &mut Script) {
    let changes = (
        sweeper_state::runs.eq(sweeper_state::runs + 1),
        sweeper_state::last_run_at.eq(statement_time().nullable()),
        progress(),
    );
    script.update(1, diesel::update(sweeper_state::table.find(ROW)).set(changes));
}

//! Table `sweeper_state`: one row with the totals of all sweeps, and when the last of them showed that it works. A sweep
//! is a short process, whose own counters nobody could read; the servers export these.

use chrono::NaiveDateTime;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Timestamp},
};

use super::{
    Connection, Failure, Script,
    named_lock::NamedLock,
    statement::{Statement, moment},
};
use crate::error::Error;

/// SQL that writes down that a sweep works. A clock that has gone back doesn't lower latest_at.
const PROGRESS: &str = "progress_at = UTC_TIMESTAMP(6), latest_at = GREATEST(latest_at, UTC_TIMESTAMP(6))";

/// What all sweeps together did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweeperTotals {
    /// Sweeps that ended well.
    pub runs: i64,
    /// Holds expired.
    pub holds_expired: i64,
    /// Orders cancelled as overdue.
    pub orders_cancelled: i64,
    /// Units given back.
    pub stock_released: i64,
    /// When the last sweep ended.
    pub last_run_at: Option<std::time::SystemTime>,
}

/// Reads the totals.
pub async fn read(conn: &mut Connection) -> Result<Option<SweeperTotals>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        runs: i64,
        #[diesel(sql_type = BigInt)]
        holds_expired: i64,
        #[diesel(sql_type = BigInt)]
        orders_cancelled: i64,
        #[diesel(sql_type = BigInt)]
        stock_released: i64,
        #[diesel(sql_type = Nullable<Timestamp>)]
        last_run_at: Option<NaiveDateTime>,
    }
    let text = "SELECT runs, holds_expired, orders_cancelled, stock_released, last_run_at FROM sweeper_state \
        WHERE id = 1";
    let rows: Vec<Row> = Statement::new(text).rows(conn).await?;
    Ok(rows.into_iter().next().map(|row| SweeperTotals {
        runs: row.runs,
        holds_expired: row.holds_expired,
        orders_cancelled: row.orders_cancelled,
        stock_released: row.stock_released,
        last_run_at: row.last_run_at.map(moment),
    }))
}

/// Adds what one transaction of a sweep did, in that transaction.
pub fn add(script: &mut Script, holds_expired: usize, orders_cancelled: usize, stock_released: i64) {
    script.write(
        1,
        format_args!(
            "UPDATE sweeper_state SET holds_expired = holds_expired + {holds_expired}, \
            orders_cancelled = orders_cancelled + {orders_cancelled}, \
            stock_released = stock_released + {stock_released}, {PROGRESS} WHERE id = 1"
        ),
    );
}

/// Writes down that the sweep works, on its lock's own connection: which keeps the lock, and shows whether it is there.
///
/// # Errors
/// `Unavailable` where the lock is lost.
pub async fn record_progress(lock: &mut NamedLock) -> Result<(), Error> {
    lock.execute(&format!("UPDATE sweeper_state SET {PROGRESS} WHERE id = 1")).await
}

/// Reads how many seconds ago a sweep last wrote down that it works. Negative: the clock has gone back since.
pub async fn seconds_since_progress(conn: &mut Connection) -> Result<Option<i64>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        seconds: i64,
    }
    let text = "SELECT CAST(TIMESTAMPDIFF(SECOND, progress_at, UTC_TIMESTAMP(6)) AS SIGNED) AS seconds \
        FROM sweeper_state WHERE id = 1";
    let rows: Vec<Row> = Statement::new(text).rows(conn).await?;
    Ok(rows.first().map(|row| row.seconds))
}

/// Counts a sweep that ended well.
pub fn finish(script: &mut Script) {
    script.write(
        1,
        format_args!(
            "UPDATE sweeper_state SET runs = runs + 1, last_run_at = UTC_TIMESTAMP(6), {PROGRESS} WHERE id = 1"
        ),
    );
}

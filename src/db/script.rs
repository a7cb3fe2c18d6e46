//! Writes: [`Script`] gathers them and commits.
//!
//! Round trips inside a row lock decide how fast a hot product sells. So all that a transaction writes goes to the server
//! as one text that ends in COMMIT. The server stops at the first statement that fails, so a script commits as a whole or
//! not at all. Values are digits, hex, quoted moments and fixed words ([`super::render`]): no text of a caller is ever part
//! of it.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime},
};

use diesel::{
    QueryResult,
    dsl::sql,
    expression::SqlLiteral,
    mysql::Mysql,
    query_builder::QueryFragment,
    sql_types::{BigInt, Datetime, Nullable},
};

use super::render::{Index, Rendered};

/// Gathers what a transaction writes: typed queries, which are sent as one text with the COMMIT.
#[derive(Debug, Default)]
pub struct Script {
    text: String,
    asks_for: AsksFor,
    /// Whether it has a statement that may change rows.
    writes: bool,
    /// Whether it has taken its time.
    has_time: bool,
    /// Whether its last statement is a SET by [`Script::set`].
    ends_in_set: bool,
    /// What was wrong with the first statement that could not be rendered.
    error: Option<diesel::result::Error>,
}

/// Names what has to be read back after a script has committed, which takes a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AsksFor {
    /// Nothing.
    #[default]
    Nothing,
    /// The ids that its last INSERT was given.
    Ids,
    /// The ids, and the time that the script has taken.
    IdsAndTime,
}

/// Holds the ids that a script's last INSERT was given, in the order of its rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct InsertedIds {
    pub(super) first: i64,
    /// `@@auto_increment_increment`, at least 1; more than 1 on multi-primary set-ups.
    pub(super) step: i64,
}

impl InsertedIds {
    /// Returns the id of row `index`, counted from 0.
    pub fn get(self, index: usize) -> i64 {
        self.first + self.step * i64::try_from(index).unwrap_or(i64::MAX)
    }
}

/// Holds what was read back after a script has committed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inserted {
    pub(super) ids: InsertedIds,
    pub(super) script_time: Option<SystemTime>,
}

impl Script {
    /// Adds an UPDATE that has to match `rows` rows. Any other number fails the script before its COMMIT.
    ///
    /// The transaction has locked and read these rows, or planned on them. So another number is a bug, a lost lock, or a
    /// plan that no longer holds.
    pub(super) fn update(&mut self, rows: usize, update: impl QueryFragment<Mysql>) {
        self.update_rendered(rows, Rendered::of(&update));
    }

    /// Adds an UPDATE as [`Script::update`] does, with the index that the database has to use.
    pub(super) fn update_by(&mut self, index: Index, rows: usize, update: impl QueryFragment<Mysql>) {
        let rendered = Rendered::of(&update);
        self.update_rendered(rows, rendered.and_then(|mut rendered| rendered.force_index(index).map(|()| rendered)));
    }

    /// Adds a DELETE that has to match one row. It names the row by its primary key.
    ///
    /// With a list of rows MariaDB scans a small table, whatever index it is told, and waits for the locks of all rows.
    pub(super) fn delete_one(&mut self, delete: impl QueryFragment<Mysql>) {
        self.update_rendered(1, Rendered::of(&delete));
    }

    fn update_rendered(&mut self, rows: usize, rendered: QueryResult<Rendered>) {
        self.writes = true;
        self.push(rendered);
        // One more than the largest unsigned number is an error of the server. MariaDB's DO swallows errors. A subquery of
        // two rows would be an error too, but to parse and plan it costs the database 25 µs a script.
        self.set(format_args!("@rows = {} + (ROW_COUNT() <> {rows})", u64::MAX));
    }

    /// Adds a SELECT that locks. Nobody reads what it finds.
    pub(super) fn lock(&mut self, select: impl QueryFragment<Mysql>) {
        self.push(Rendered::of(&select));
    }

    /// Adds an INSERT whose ids [`super::Database::transaction`] returns. It has to be the script's last INSERT.
    pub(super) fn insert_for_ids(&mut self, insert: impl QueryFragment<Mysql>) {
        self.asks_for = AsksFor::Ids;
        self.insert(insert);
    }

    /// Adds an INSERT as [`Script::insert_for_ids`] does, of rows that may have [`script_time`] as a value.
    ///
    /// That is the time when the script comes to the INSERT, after the wait for the locks that it takes before.
    /// [`script_time_plus_ttl`] is `ttl` later. [`super::Database::transaction`] returns the time with the ids.
    pub(super) fn insert_at_script_time(&mut self, ttl: Duration, insert: impl QueryFragment<Mysql>) {
        self.take_time();
        // A SET takes all its values before it assigns any, so this needs a SET of its own.
        self.ends_in_set = false;
        self.set(format_args!("{SCRIPT_TIME_PLUS_TTL} = {SCRIPT_TIME} + INTERVAL {} MICROSECOND", ttl.as_micros()));
        self.ends_in_set = false;
        self.insert(insert);
        self.asks_for = AsksFor::IdsAndTime;
    }

    /// Takes the time by which rows are settled from here on: [`script_time`]. A script takes it once.
    pub(super) fn take_time(&mut self) {
        if !self.has_time {
            self.has_time = true;
            self.set(format_args!("{SCRIPT_TIME} = SYSDATE(6)"));
        }
    }

    /// Fails the script, as a wait for a lock, where its time was taken longer than [`SETTLED_WITHIN`] ago.
    ///
    /// It follows a statement that writes the time into rows: that statement may have waited for a lock on an index.
    pub(super) fn check_time(&mut self) {
        // One more than the largest number is an error of the server, and another one than that of a wrong row count.
        self.set(format_args!(
            "@late = {} + (SYSDATE(6) > {SCRIPT_TIME} + INTERVAL {} MICROSECOND)",
            i64::MAX,
            SETTLED_WITHIN.as_micros()
        ));
    }

    /// Has the time of the script read back: [`super::Database::transaction`] returns it with the ids.
    pub fn ask_for_time(&mut self) {
        self.asks_for = AsksFor::IdsAndTime;
    }

    /// Adds an INSERT.
    pub(super) fn insert(&mut self, insert: impl QueryFragment<Mysql>) {
        self.writes = true;
        self.push(Rendered::of(&insert));
    }

    /// Adds an INSERT that may use [`last_inserted_id`], and leaves the ids of the INSERT before it to be read back.
    pub(super) fn insert_beside(&mut self, insert: impl QueryFragment<Mysql>) {
        self.set(format_args!("{FIRST_ID} = LAST_INSERT_ID()"));
        self.insert(insert);
        // With a value, LAST_INSERT_ID returns that value from now on.
        self.set(format_args!("{FIRST_ID} = LAST_INSERT_ID({FIRST_ID})"));
    }

    /// Adds an assignment to the SET that the script ends in, or adds a SET. Fewer statements cost the server less.
    fn set(&mut self, assignment: fmt::Arguments<'_>) {
        if self.ends_in_set {
            self.text.push_str(", ");
        } else {
            self.begin_statement();
            self.text.push_str("SET ");
        }
        // Writing to a String can't fail.
        let _always_ok = self.text.write_fmt(assignment);
        self.ends_in_set = true;
    }

    fn push(&mut self, rendered: QueryResult<Rendered>) {
        self.begin_statement();
        if let Err(error) = rendered.and_then(|rendered| rendered.write_literals(&mut self.text)) {
            self.error.get_or_insert(error);
        }
    }

    fn begin_statement(&mut self) {
        self.ends_in_set = false;
        if !self.text.is_empty() {
            self.text.push(';');
        }
    }

    /// Returns what has to be read back once the script has committed.
    pub(super) fn asks_for(&self) -> AsksFor {
        self.asks_for
    }

    /// Tells whether it may change rows. The COMMIT of a script that changes none doesn't show that writes work.
    pub(super) fn writes(&self) -> bool {
        self.writes
    }

    /// Makes the text to send: all statements, then COMMIT.
    ///
    /// # Errors
    /// The first error that a statement had. It is a bug.
    pub(super) fn into_commit(mut self) -> QueryResult<String> {
        self.begin_statement();
        self.text.push_str("COMMIT");
        self.error.map_or(Ok(self.text), Err)
    }

    /// Makes the text to send where the transaction has not begun: BEGIN, all statements, COMMIT.
    ///
    /// # Errors
    /// The errors of [`Script::into_commit`].
    pub(super) fn into_transaction(self) -> QueryResult<String> {
        Ok(format!("BEGIN;{}", self.into_commit()?))
    }
}

/// How long after its time a script may still write it into rows.
///
/// Whoever lists rows by such a time leaves out the last second ([`super::orders::list_settled`]). So a row that isn't in
/// the index by then must never come.
const SETTLED_WITHIN: Duration = Duration::from_millis(500);

/// Names the variable of a session that has the time of its last script.
pub(super) const SCRIPT_TIME: &str = "@script_time";
const SCRIPT_TIME_PLUS_TTL: &str = "@expires_at";

/// The variable of a session with the first id of the INSERT that a script reads back.
const FIRST_ID: &str = "@first_id";

/// Returns SQL of the first id of the INSERT before: see [`Script::insert_beside`].
pub(super) fn last_inserted_id() -> SqlLiteral<Nullable<BigInt>> {
    sql(FIRST_ID)
}

/// Returns SQL of the time when a script gets to its INSERT, by [`Script::insert_at_script_time`].
pub(super) fn script_time() -> SqlLiteral<Datetime> {
    sql(SCRIPT_TIME)
}

/// Returns SQL of the time `ttl` after [`script_time`], by [`Script::insert_at_script_time`].
pub(super) fn script_time_plus_ttl() -> SqlLiteral<Datetime> {
    sql(SCRIPT_TIME_PLUS_TTL)
}

#[cfg(test)]
mod tests {
    use diesel::{ExpressionMethods, QueryDsl, sql_types::Double};

    use super::*;
    use crate::db::schema::{products, sweeper_state};

    fn counts() -> impl QueryFragment<Mysql> {
        diesel::update(sweeper_state::table.find(1)).set(sweeper_state::runs.eq(3))
    }

    #[test]
    fn a_script_ends_in_commit_and_checks_its_rows() {
        let mut script = Script::default();
        script.insert_for_ids(
            diesel::insert_into(sweeper_state::table).values(vec![sweeper_state::id.eq(1), sweeper_state::id.eq(2)]),
        );
        script.update(1, counts());
        assert_eq!(script.asks_for(), AsksFor::Ids);
        assert_eq!(
            script.into_commit().unwrap(),
            "INSERT INTO `sweeper_state` (`id`) VALUES (1), (2);\
             UPDATE `sweeper_state` SET `runs` = 3 WHERE (`sweeper_state`.`id` = 1);\
             SET @rows = 18446744073709551615 + (ROW_COUNT() <> 1);COMMIT"
        );
    }

    #[test]
    fn the_time_is_taken_by_the_statement_that_checks_the_rows_before_it() {
        let mut script = Script::default();
        script.update(1, counts());
        let row = products::created_at.eq(script_time());
        script.insert_at_script_time(Duration::from_micros(5), diesel::insert_into(products::table).values(row));
        assert_eq!(
            script.into_transaction().unwrap(),
            "BEGIN;UPDATE `sweeper_state` SET `runs` = 3 WHERE (`sweeper_state`.`id` = 1);\
             SET @rows = 18446744073709551615 + (ROW_COUNT() <> 1), @script_time = SYSDATE(6);\
             SET @expires_at = @script_time + INTERVAL 5 MICROSECOND;\
             INSERT INTO `products` (`created_at`) VALUES (@script_time);COMMIT"
        );
    }

    #[test]
    fn a_script_with_a_statement_that_has_no_text_is_never_sent() {
        let mut script = Script::default();
        script.lock(diesel::select(sql::<Double>("").bind::<Double, _>(1.5)));
        script.update(1, counts());
        assert!(script.into_commit().is_err());
    }
}

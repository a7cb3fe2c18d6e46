//! The settings that every session relies on. Each session sets them itself, because a server's defaults are its
//! operator's to choose.
//!
//! An account can set each of them with the rights that it has on its own database. Apart from what only changes the
//! speed, nothing is left to the server:
//!
//! - READ COMMITTED: with gap locks, sweeps and inserts would deadlock. READ WRITE: transactions write.
//! - autocommit, completion_type: a single statement is a transaction, and a COMMIT begins no other transaction.
//! - sql_mode: a value that doesn't fit is a bug and must not be trimmed, and SQL texts have one meaning.
//! - time_zone: only the database's clock decides, in UTC. lc_messages: errors are told apart by their English texts.
//! - innodb_lock_wait_timeout, lock_wait_timeout: while a statement waits for a row or a table, a caller waits.
//! - sql_select_limit, max_join_size, sql_big_selects, sql_safe_updates, sql_auto_is_null, group_concat_max_len,
//!   max_sort_length, sql_if_exists: a statement does all of what it says.
//! - max_execution_time, max_statement_time: the service has its own limits, which know what they interrupt.
//! - unique_checks, check_constraint_checks: they are the last guards.
//! - default_storage_engine: the migrations' library makes one table, and names no engine.
//! - wait_timeout, net_read_timeout, net_write_timeout, idle_transaction_timeout: [`SILENCE_SECONDS_MAX`].

/// Limits how long a statement waits for one lock, in seconds.
pub(super) const LOCK_WAIT_SECONDS: u32 = 1;

/// Limits how long the database keeps a session of the pool that says nothing, in seconds.
///
/// A server may freeze in the middle of a transaction, or vanish with its machine or its network. The database doesn't
/// notice. It keeps the session and the rows that the session has locked, by default for 8 hours. These rows have to be
/// free within 10 s. The silence may begin late, because a statement of the session may still wait for a lock for 1 to
/// 2 s.
pub(super) const SILENCE_SECONDS_MAX: u32 = 7;

/// Returns the statements that set up a session.
pub(super) fn settings() -> String {
    format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;\
        SET SESSION autocommit = 1, completion_type = NO_CHAIN,\
        sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',\
        time_zone = '+00:00', lc_messages = 'en_US',\
        innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}, lock_wait_timeout = {LOCK_WAIT_SECONDS},\
        sql_select_limit = {all}, max_join_size = {all}, sql_big_selects = 1, sql_safe_updates = 0, sql_auto_is_null = 0,\
        group_concat_max_len = 1048576, max_sort_length = 1024, unique_checks = 1, default_storage_engine = InnoDB,\
        net_read_timeout = {SILENCE_SECONDS_MAX}, net_write_timeout = {SILENCE_SECONDS_MAX}\
        /*!80000 , max_execution_time = 0 */\
        /*M!100301 , max_statement_time = 0, check_constraint_checks = 1,\
        idle_transaction_timeout = {SILENCE_SECONDS_MAX}, idle_readonly_transaction_timeout = 0,\
        idle_write_transaction_timeout = 0 */\
        /*M!100502 , sql_if_exists = 0 */",
        all = u64::MAX
    )
}

/// Returns the statements that set up the session of the pool that has this name.
pub(super) fn pool_settings(name: &str) -> String {
    format!("{};SET SESSION wait_timeout = {SILENCE_SECONDS_MAX};DO GET_LOCK('{name}', 0)", settings())
}

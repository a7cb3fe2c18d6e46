//! What every session relies on, set by itself: a server's defaults are its operator's to choose.
//!
//! Each can be set with the rights that an account has on its own database. Beside the speed, nothing here is left to
//! the server:
//!
//! - READ COMMITTED: gap locks deadlock sweeps with inserts. READ WRITE: transactions write.
//! - autocommit, completion_type: a statement by itself is a transaction, and a COMMIT begins no other.
//! - sql_mode: a value that doesn't fit is a bug and not to be trimmed, and texts are read in one way.
//! - time_zone: only the database's clock decides, in UTC. lc_messages: errors are told apart by their English texts.
//! - innodb_lock_wait_timeout, lock_wait_timeout: a caller waits, too, for a row as for a table.
//! - sql_select_limit, max_join_size, sql_big_selects, sql_safe_updates, sql_auto_is_null, group_concat_max_len,
//!   max_sort_length, sql_if_exists: a statement does what it says, whole.
//! - max_execution_time, max_statement_time: the service has limits of its own, which know what they interrupt.
//! - unique_checks, check_constraint_checks: the last guards.
//! - default_storage_engine: for the one table that the migrations' library makes.
//! - wait_timeout, net_read_timeout, net_write_timeout, idle_transaction_timeout: [`SILENCE_SECONDS_MAX`].

/// How long a statement waits for one lock, in seconds.
pub(super) const LOCK_WAIT_SECONDS: u32 = 1;

/// How long the database bears a session of the pool that says nothing, in seconds.
///
/// Should a server freeze, or vanish with its machine or its network, in the middle of a transaction, the database hears
/// nothing of it and keeps the session, and with it the rows that it has locked: by default for 8 hours. A statement of
/// it may still wait for a lock, for 1 to 2 s, before the silence begins; what it had locked has to be free within 10 s.
pub(super) const SILENCE_SECONDS_MAX: u32 = 7;

/// The statements that make a session.
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

/// As [`settings`], for a session of the pool of that name.
pub(super) fn pool_settings(name: &str) -> String {
    format!("{};SET SESSION wait_timeout = {SILENCE_SECONDS_MAX};DO GET_LOCK('{name}', 0)", settings())
}

//! Sells on a database server whose defaults for sessions are odd: the sale goes as always.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::{cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    pb::{HoldStatus, OrderStatus, PaymentStatus, Product},
};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    client::assert_refused,
    database::TestDatabase,
    mysqld::{Engine, Mysqld},
    programs::{lines_of, sweep},
    sale::{event, hold_of, repeatable_hold, repeatable_order},
    server::{Sale, TestServer},
};

/// The global variables of both engines and their odd values.
const BOTH: &[(&str, &str)] = &[
    ("autocommit", "0"),
    ("auto_increment_increment", "7"),
    ("auto_increment_offset", "3"),
    ("big_tables", "1"),
    ("character_set_server", "latin1"),
    ("collation_server", "utf8mb4_bin"),
    ("completion_type", "'CHAIN'"),
    ("completion_type", "'RELEASE'"),
    ("default_storage_engine", "'MyISAM'"),
    ("default_week_format", "3"),
    ("div_precision_increment", "0"),
    ("eq_range_index_dive_limit", "1"),
    ("foreign_key_checks", "0"),
    ("group_concat_max_len", "4"),
    ("init_connect", "'SET NAMES latin1, autocommit = 0, sql_safe_updates = 1, time_zone = ''-11:00'''"),
    ("innodb_deadlock_detect", "0"),
    ("innodb_lock_wait_timeout", "100"),
    ("interactive_timeout", "1"),
    ("join_buffer_size", "128"),
    ("lc_messages", "'de_DE'"),
    ("lc_time_names", "'de_DE'"),
    ("lock_wait_timeout", "86400"),
    ("low_priority_updates", "1"),
    ("max_error_count", "0"),
    ("max_heap_table_size", "16384"),
    ("max_join_size", "1"),
    ("max_seeks_for_key", "1"),
    ("max_sort_length", "64"),
    ("net_read_timeout", "1"),
    ("net_write_timeout", "1"),
    ("old_alter_table", "1"),
    ("optimizer_prune_level", "0"),
    ("optimizer_search_depth", "1"),
    ("session_track_schema", "1"),
    ("session_track_state_change", "1"),
    ("session_track_system_variables", "'*'"),
    ("session_track_transaction_info", "'CHARACTERISTICS'"),
    ("sort_buffer_size", "32768"),
    ("sql_auto_is_null", "1"),
    ("sql_big_selects", "0"),
    ("sql_mode", "''"),
    ("sql_mode", "'ANSI'"),
    ("sql_mode", "'NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION,PAD_CHAR_TO_FULL_LENGTH'"),
    ("sql_notes", "0"),
    ("sql_safe_updates", "1"),
    ("sql_select_limit", "1"),
    ("sql_select_limit", "0"),
    ("sql_warnings", "1"),
    ("time_zone", "'+13:00'"),
    ("tmp_table_size", "1024"),
    ("unique_checks", "0"),
    ("updatable_views_with_limit", "0"),
    ("wait_timeout", "1"),
];

const MARIADB: &[(&str, &str)] = &[
    ("check_constraint_checks", "0"),
    ("idle_readonly_transaction_timeout", "1"),
    ("idle_transaction_timeout", "1"),
    ("idle_write_transaction_timeout", "1"),
    ("in_predicate_conversion_threshold", "2"),
    ("max_statement_time", "0.001"),
    ("old_mode", "'NO_DUP_KEY_WARNINGS_WITH_IGNORE,ZERO_DATE_TIME_CAST,UTF8_IS_UTF8MB3'"),
    ("optimizer_use_condition_selectivity", "1"),
    ("sql_mode", "'ORACLE'"),
    ("sql_mode", "'MSSQL'"),
    ("standard_compliant_cte", "0"),
    ("tx_isolation", "'SERIALIZABLE'"),
    ("tx_isolation", "'READ-UNCOMMITTED'"),
    ("tx_read_only", "1"),
    ("use_stat_tables", "'NEVER'"),
];

const MYSQL: &[(&str, &str)] = &[
    ("explicit_defaults_for_timestamp", "0"),
    ("information_schema_stats_expiry", "0"),
    ("internal_tmp_mem_storage_engine", "'MEMORY'"),
    ("max_execution_time", "1"),
    ("range_optimizer_max_mem_size", "1"),
    ("session_track_gtids", "'OWN_GTID'"),
    ("sql_generate_invisible_primary_key", "1"),
    ("sql_mode", "'TIME_TRUNCATE_FRACTIONAL'"),
    ("sql_require_primary_key", "1"),
    ("transaction_isolation", "'SERIALIZABLE'"),
    ("transaction_isolation", "'READ-UNCOMMITTED'"),
    ("transaction_read_only", "1"),
];

fn odd_settings(engine: Engine) -> Vec<(&'static str, &'static str)> {
    let own = match engine {
        Engine::MariaDb => MARIADB,
        Engine::MySql => MYSQL,
    };
    [BOTH, own].concat()
}

/// Does all that a sale does, in sessions that begin now.
async fn assert_sells(database: TestDatabase) -> TestDatabase {
    let server = TestServer::start(&database).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let sale = Sale { database, server };
    let clients = sale.clients();
    let product_id = sale.product(6).await;
    let first = clients.hold_by(repeatable_hold(product_id, 2, "one")).await.unwrap();
    let repeated = clients.hold_by(repeatable_hold(product_id, 2, "one")).await.unwrap();
    assert_eq!((repeated.hold_id, repeated.expires_at), (first.hold_id, first.expires_at));
    assert_eq!(clients.get_hold(first.hold_id).await.unwrap().status(), HoldStatus::Active);
    let order = clients.order_by(repeatable_order(first.hold_id, "one")).await.unwrap();
    assert_eq!(clients.order_by(repeatable_order(first.hold_id, "one")).await.unwrap().order_id, order.order_id);
    let key = |name: &str| format!("{name}-{product_id}");
    for first_time in [true, false] {
        let paid = clients.pay(&key("paid"), order.order_id, PaymentStatus::Success).await.unwrap();
        assert_eq!((paid.order_status(), paid.first_time), (OrderStatus::Paid, first_time));
    }
    let twice = event(&key("twice"), order.order_id, PaymentStatus::Success, Some(2000));
    assert!(clients.pay_by(twice).await.unwrap().refund_required);
    assert_eq!(clients.get_order(order.order_id).await.unwrap().status(), OrderStatus::Paid);

    let unpaid = sale.ordered(product_id, 1).await;
    let failed = clients.pay(&key("failed"), unpaid.order_id, PaymentStatus::Failure).await.unwrap();
    assert_eq!(failed.order_status(), OrderStatus::Cancelled);
    let given_up = clients.hold(product_id, 3).await.unwrap();
    assert_eq!(clients.release(given_up.hold_id).await.unwrap().status(), HoldStatus::Cancelled);
    assert_eq!(sale.stock(product_id).await, 4);
    assert_administered(&sale, product_id).await;
    assert_swept(&sale, product_id).await;
    sale.server.stop().await;
    sale.database.assert_no_open_transactions().await;
    sale.database.assert_conserved().await;
    sale.database.assert_audit_clean().await;
    sale.database
}

/// Does what an operator does, with four units left and two paid for.
async fn assert_administered(sale: &Sale, product_id: i64) {
    let clients = sale.clients();
    let limit = Product { product_id, max_per_buyer: Some(2), ..Default::default() };
    clients.update(limit, &["max_per_buyer"]).await.unwrap();
    clients.hold_by(hold_of("ann", product_id, 2)).await.unwrap();
    let more = clients.hold_by(hold_of("ann", product_id, 1)).await;
    assert_refused(more, Code::FailedPrecondition, "BUYER_LIMIT");
    assert_eq!(clients.adjust(product_id, 3, &format!("more-{product_id}")).await.unwrap().available_stock, 5);
    let stats = clients.stats(product_id).await.unwrap();
    let stock = [stats.total_stock, stats.available_stock, stats.held_stock, stats.pending_stock, stats.paid_stock];
    assert_eq!(stock, [9, 5, 2, 0, 2]);
    let open = clients.exceptions().await;
    assert_eq!(open.len(), 1, "{open:?}");
    clients.resolve(open[0].exception_id, "refunded").await.unwrap();
    assert_eq!(clients.exceptions().await, []);
    clients.update(Product { product_id, ..Default::default() }, &["max_per_buyer"]).await.unwrap();
}

/// Takes units back by the sweeper's program, by its parts, and by a hold that is short of stock.
async fn assert_swept(sale: &Sale, product_id: i64) {
    let clients = sale.clients();
    sale.expire_all_holds().await;
    let (code, lines, _) = sweep(&sale.database.url(), &[]).await;
    assert_eq!((code, lines_of(&lines, "Hold expired and stock released").len()), (0, 1), "{lines:?}");
    sale.ordered(product_id, 2).await;
    clients.hold(product_id, 3).await.unwrap();
    sale.let_all_orders_be_overdue().await;
    sale.expire_all_holds().await;
    let service = sale.sweeper_database();
    assert_eq!(cancel_overdue_orders(&service, UNIX_EPOCH, 10).await.unwrap().rows, 1);
    assert_eq!(expire_holds(&service, UNIX_EPOCH, 10).await.unwrap().rows, 1);
    for _ in 0..2 {
        clients.hold(product_id, 7).await.unwrap();
        sale.expire_all_holds().await;
    }
    assert_eq!(expire_holds(&service, UNIX_EPOCH, 10).await.unwrap().rows, 1);
    assert_eq!(sale.stock(product_id).await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_goes_as_always_under_each_odd_default() {
    let mysqld = Mysqld::start_private(&["--innodb-rollback-on-timeout"]).await;
    let mut database = TestDatabase::create_on(&mysqld, "odd_defaults").await;
    for (name, value) in odd_settings(mysqld.engine()) {
        println!("{name} = {value}");
        let usual = &database.query_rows(&format!("SELECT QUOTE(@@global.{name})")).await[0][0];
        // The variable takes a number only without quotes.
        let number = usual.trim_matches('\'');
        let usual = if number.parse::<f64>().is_ok() { number } else { usual };
        database.execute(&format!("SET GLOBAL {name} = {value}")).await;
        database = assert_sells(database).await;
        database.execute(&format!("SET GLOBAL {name} = {usual}")).await;
    }
}

/// The migrations run under these defaults, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_sale_goes_as_always_under_all_odd_defaults_at_once() {
    let mysqld = Mysqld::start_private(&[]).await;
    let looking = TestDatabase::create_empty_on(&mysqld, "odd_root").await;
    let mut root = looking.connect().await;
    // Where a variable has several odd values, the first one counts.
    for (name, value) in odd_settings(mysqld.engine()).into_iter().rev() {
        root.execute(&format!("SET GLOBAL {name} = {value}")).await;
    }
    root.close().await;
    let database = TestDatabase::create_on(&mysqld, "odd").await;
    assert_sells(database).await;
}

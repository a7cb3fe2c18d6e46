//! Programs whose account lacks a right: they name it, and take it for nothing else.

use std::time::Duration;

use flashsale::config::Account;
use tonic::Code;

use crate::support::{
    client::assert_refused,
    database::TestDatabase,
    mysqld::{self, Mysqld},
    process::{Process, Program},
    programs::{ServerProgram, lines_of},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

async fn revoke(database: &TestDatabase, account: Account, right: &str) {
    let user = mysqld::user(mysqld::Account::Of(account));
    database.execute(&format!("REVOKE {right} FROM '{user}'@'127.0.0.1'")).await;
}

async fn grant(database: &TestDatabase, account: Account, right: &str) {
    let user = mysqld::user(mysqld::Account::Of(account));
    database.execute(&format!("GRANT {right} TO '{user}'@'127.0.0.1'")).await;
}

/// Tells whether a text names the right as an operator needs it.
fn names(text: &str, account: Account, right: &str) -> bool {
    let user = mysqld::user(mysqld::Account::Of(account));
    text.contains(&format!("the account '{user}'@'")) && text.contains(&format!(" lacks {right}; see `server grants`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_ready_until_its_account_has_each_right() {
    let database = TestDatabase::create("server_lacks").await;
    for (right, named) in [
        ("UPDATE (accepted) ON payment_exceptions", "UPDATE on payment_exceptions.accepted"),
        ("INSERT ON operator_actions", "INSERT on operator_actions"),
        ("SELECT ON __diesel_schema_migrations", "SELECT on __diesel_schema_migrations"),
    ] {
        revoke(&database, Account::Server, right).await;
        let server = ServerProgram::start(&database.url(), &[]).await;
        let line = server.process.wait_for_line("Not serving", LIMIT).await;
        let reason = line["reason"].as_str().unwrap();
        assert!(names(reason, Account::Server, named), "{reason}");
        grant(&database, Account::Server, right).await;
        server.process.wait_for_line("Serving: the database takes writes and is up to date", LIMIT).await;
        server.stop().await;
    }
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_any_right_on_its_database_says_so() {
    // Its own server, since the account loses its rights on every database.
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_on(&mysqld, "server_may_nothing").await;
    revoke(&database, Account::Server, "ALL PRIVILEGES, GRANT OPTION").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let line = server.process.wait_for_line("Not serving", LIMIT).await;
    let reason = line["reason"].as_str().unwrap();
    let all = format!("all rights on the database {}", database.name());
    assert!(names(reason, Account::Server, &all), "{reason}");
    drop(server);
}

/// A right that goes while the server runs costs the calls that need it, and the log says which one it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_is_named_in_the_log_of_the_call() {
    let database = TestDatabase::create("taken_away").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    revoke(&database, Account::Server, "INSERT ON stock_adjustments").await;
    let refused = server.clients.adjust(product_id, 1, "more").await;
    let status = refused.as_ref().unwrap_err();
    assert!(!status.message().contains("adjustments") && !status.message().contains("flashsale_"), "{status:?}");
    assert_refused(refused, Code::Internal, "INTERNAL");
    server.clients.hold(product_id, 1).await.unwrap();
    let lines = server.stop().await;
    let failed = lines_of(&lines, "Database statement failed");
    let error = failed[0]["error"].as_str().unwrap();
    assert!(names(error, Account::Server, "INSERT on stock_adjustments"), "{error}");
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// Runs a program to its end, which is a failure, and returns its lines and its standard error.
async fn fails(database: &TestDatabase, account: Account, arguments: &[&str]) -> (Vec<serde_json::Value>, String) {
    let url = database.url_for(account);
    let mut process = Process::spawn(Program::Sweeper, arguments, &[("DATABASE_URL", &url)]);
    let code = process.wait_exit(LIMIT).await;
    assert_eq!(code, 1, "{arguments:?}: {:#?}", process.lines());
    (process.lines(), process.stderr())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_programs_end_with_the_right_that_they_lack_and_touch_nothing() {
    let sale = Sale::start("sweeper_lacks").await;
    let product_id = sale.product(10).await;
    sale.clients().hold(product_id, 3).await.unwrap();
    sale.expire_all_holds().await;
    let database = &sale.database;
    for (account, arguments, right, named, last) in [
        (Account::Sweeper, &[][..], "UPDATE (status) ON orders", "UPDATE on orders.status", "Sweep failed"),
        (Account::Auditor, &["audit"], "SELECT ON operator_actions", "SELECT on operator_actions", "Audit failed"),
        // Without it, the key of the orders looks as if it were missing.
        (Account::Auditor, &["audit"], "SELECT ON orders", "SELECT on orders", "Audit failed"),
        (
            Account::Auditor,
            &["audit"],
            "UPDATE (findings) ON audit_state",
            "UPDATE on audit_state.findings",
            "Audit failed",
        ),
        (
            Account::Repairer,
            &["audit", "--repair"],
            "UPDATE (available_stock) ON products",
            "UPDATE on products",
            "Audit failed",
        ),
        (Account::Purger, &["purge", "--after=1day"], "DELETE ON holds", "DELETE on holds", "Purge failed"),
    ] {
        revoke(database, account, right).await;
        let (lines, stderr) = fails(database, account, arguments).await;
        assert!(names(&stderr, account, named), "{stderr}");
        let line = lines.last().unwrap();
        assert_eq!(line["message"], last, "{line}");
        assert!(names(line["error"].as_str().unwrap(), account, named), "{line}");
        assert!(lines_of(&lines, "Audit finding").is_empty(), "{lines:#?}");
        grant(database, account, right).await;
    }
    assert_eq!(sale.count("holds WHERE status = 'active'").await, 1, "nothing was swept");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_nobody_hears_of_is_not_done_well() {
    let database = TestDatabase::create("unrecorded").await;
    let row = database.lock_rows("audit_state").await;
    let (lines, stderr) = fails(&database, Account::Auditor, &["audit"]).await;
    assert!(stderr.contains("the audit was not recorded"), "{stderr}");
    assert_eq!(lines_of(&lines, "Audit not recorded: the servers' metrics show the one before").len(), 1, "{lines:#?}");
    let done = lines.last().unwrap();
    assert_eq!((&done["message"], &done["findings"]), (&"Audit done".into(), &0.into()));
    row.close().await;
    wait::eventually(LIMIT, "the end of the lock", async || database.open_transactions().await == 0).await;
    database.assert_audit_clean().await;
}

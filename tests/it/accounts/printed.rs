//! The statements that `server grants` prints, as an administrator uses them.

use std::time::Duration;

use flashsale::config::Account;

use crate::support::{
    database::{RawConnection, TestDatabase},
    mysqld::{self, Mysqld},
    process::{Process, Program},
    programs::ServerProgram,
};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "secret";

/// Runs `server grants` without any other setting and returns what it prints.
async fn print(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut server = Process::spawn(Program::Server, &[&["grants"], arguments].concat(), settings);
    let code = server.wait_exit(LIMIT).await;
    (code, server.stdout().join("\n"), server.stderr())
}

async fn run(program: Program, arguments: &[&str], url: &str) -> i32 {
    let mut process = Process::spawn(program, arguments, &[("DATABASE_URL", url)]);
    let code = process.wait_exit(LIMIT).await;
    assert_eq!(code, 0, "{arguments:?}: {:#?} {}", process.lines(), process.stderr());
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn all_programs_run_by_the_accounts_that_are_printed() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_empty_on(&mysqld, "printed").await;
    let mut root = RawConnection::open(&mysqld::url(mysqld::Account::Root, mysqld.port(), "")).await.unwrap();
    let options = [database.name(), "--host", "127.0.0.1", "--prefix", "shop-"];
    let url = |account: Account| {
        format!("mysql://shop-{}:{PASSWORD}@127.0.0.1:{}/{}", account.name(), mysqld.port(), database.name())
    };
    let (code, migrator, stderr) = print(&[&options[..], &["--account", "migrator"]].concat(), &[]).await;
    assert_eq!((code, &*stderr), (0, ""));
    // What nobody has filled in makes no account with a password that everybody knows.
    assert!(root.try_execute(&migrator).await.unwrap_err().to_string().contains("SQL syntax"), "{migrator}");
    root.execute(&migrator.replace("<password:migrator>", &format!("'{PASSWORD}'"))).await;
    run(Program::Server, &["migrate", "--seed"], &url(Account::Migrator)).await;

    let (_, all, _) = print(&options, &[]).await;
    let mut filled = all.clone();
    for account in Account::ALL {
        filled = filled.replace(&format!("<password:{}>", account.name()), &format!("'{PASSWORD}'"));
    }
    assert!(!filled.contains('<'), "{filled}");
    root.execute(&filled).await;
    // Again, after a later migration, without a password.
    let (_, rights, _) = print(&[&options[..], &["--existing-users"]].concat(), &[]).await;
    root.execute(&rights).await;

    let server = ServerProgram::start(&url(Account::Server), &[]).await;
    let hold = server.clients.hold(1, 2).await.unwrap();
    server.clients.order(hold.hold_id).await.unwrap();
    server.stop().await;
    run(Program::Sweeper, &[], &url(Account::Sweeper)).await;
    run(Program::Sweeper, &["audit"], &url(Account::Auditor)).await;
    run(Program::Sweeper, &["audit", "--repair"], &url(Account::Repairer)).await;
    run(Program::Sweeper, &["purge", "--after=1day"], &url(Account::Purger)).await;
    root.close().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test]
async fn the_database_is_the_one_named_or_that_of_database_url() {
    let url = ("DATABASE_URL", "mysql://root:hunter2@127.0.0.1:1/from_url");
    let (code, named, _) = print(&["named"], &[]).await;
    assert!(code == 0 && named.contains("ON `named`.`holds` TO 'flashsale_server'@'%';"), "{named}");
    let (code, of_url, _) = print(&["--account=sweeper", "--account=auditor"], &[url]).await;
    assert!(code == 0 && of_url.contains("ON `from_url`.`holds`"), "{of_url}");
    assert!(!of_url.contains("server'@") && !of_url.contains("hunter2"), "{of_url}");
    let (_, named, _) = print(&["named"], &[url]).await;
    assert!(named.contains("`named`.`holds`") && !named.contains("from_url"), "{named}");

    for (arguments, settings, said) in [
        (&[][..], &[][..], "DATABASE_URL (--database-url) is required"),
        (&["sale", "--host", "a'b"], &[], "--host"),
        (&["sale", "--prefix", "a'b"], &[], "--prefix"),
        (&["sale", "--account", "root"], &[], "--account"),
        (&[""], &[], "must have 1 to 64 characters"),
    ] {
        let (code, stdout, stderr) = print(arguments, settings).await;
        assert_eq!((code, &*stdout), (2, ""), "{arguments:?}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

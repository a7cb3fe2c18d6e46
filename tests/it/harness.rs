//! Tests the tests' own support: what the other tests rely on in [`crate::support`].

mod conservation;
mod proxy;

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{self, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Barrier;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::support::{
    at_once::at_once,
    client,
    database::{RawConnection, TestDatabase},
    mysqld::{self, Account, Engine, Mysqld, url},
    process::Process,
    signal, wait,
};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_server_is_the_one_asked_for() {
    let database = TestDatabase::create_empty("engine").await;
    let version = database.query_rows("SELECT VERSION()").await;
    let is_mariadb = version[0][0].contains("MariaDB");
    assert_eq!(Mysqld::shared().engine(), if is_mariadb { Engine::MariaDb } else { Engine::MySql });
}

#[tokio::test]
async fn the_servers_defaults_are_traps_for_sessions_that_set_nothing() {
    let database = TestDatabase::create_empty("traps").await;
    let offset = "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW())";
    assert_eq!(database.query_i64(offset).await, 0, "the tests' own sessions are in UTC");
    let mut service = mysql_async::Conn::from_url(database.url()).await.unwrap();
    let minutes: Option<i64> = mysql_async::prelude::Queryable::query_first(&mut service, offset).await.unwrap();
    assert_eq!(minutes, Some(330));
    service.disconnect().await.unwrap();
}

#[tokio::test]
async fn both_accounts_log_in_and_only_root_may_write_to_a_read_only_server() {
    let mysqld = Mysqld::start_private(&["--read-only=ON"]).await;
    let database = TestDatabase::create_empty_on(&mysqld, "accounts").await;
    database.execute("CREATE TABLE notes (note INT) ENGINE = InnoDB").await;

    let mut service = RawConnection::open(&database.url()).await.unwrap();
    let error = service.try_execute("INSERT INTO notes VALUES (1)").await;
    assert!(error.unwrap_err().to_string().contains("read-only"));

    database.execute("SET GLOBAL read_only = OFF").await;
    service.execute("INSERT INTO notes VALUES (1)").await;
    let wrong = url(Account::Owner, mysqld.port(), database.name()).replace("p%40ss", "wrong");
    assert!(RawConnection::open(&wrong).await.is_err());
}

#[tokio::test]
async fn open_transactions_are_counted_whatever_bytes_their_statements_have() {
    let database = TestDatabase::create_empty("bytes").await;
    database.execute("CREATE TABLE notes (note VARBINARY(255) PRIMARY KEY) ENGINE = InnoDB").await;
    database.execute("INSERT INTO notes VALUES (x'ECCC8E8E3EBF')").await;
    let mut owner = database.lock_rows("notes").await;
    let mut waiter = mysql_async::Conn::from_url(database.url()).await.unwrap();
    let waiting = tokio::spawn(async move {
        let select = "SELECT 1 FROM notes WHERE note = ? FOR UPDATE";
        let bytes = mysql_async::Value::Bytes(vec![0xec, 0xcc, 0x8e, 0x8e, 0x3e, 0xbf]);
        mysql_async::prelude::Queryable::exec_first::<i64, _, _>(&mut waiter, select, (bytes,)).await.unwrap()
    });
    database.wait_for_waiter().await;
    assert_eq!(database.open_transactions().await, 2);
    owner.execute("COMMIT").await;
    assert_eq!(waiting.await.unwrap(), Some(1));
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_until_it_ends() {
    let first = TestDatabase::create_empty("own").await;
    let second = TestDatabase::create_empty("own").await;
    first.execute("CREATE TABLE notes (note INT)").await;
    second.execute("CREATE TABLE notes (note INT)").await;

    let count = format!("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{}'", first.name());
    assert_eq!(second.query_i64(&count).await, 1);
    drop(first);
    assert_eq!(second.query_i64(&count).await, 0);
}

#[tokio::test]
async fn a_stopped_or_killed_server_comes_back_with_its_data() {
    let mysqld = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_empty_on(&mysqld, "restart").await;
    database.execute("CREATE TABLE notes (note INT) ENGINE = InnoDB").await;

    mysqld.stop().await;
    assert!(RawConnection::open(&database.url()).await.is_err());
    assert_eq!(mysqld.pid(), None);
    mysqld.start().await;
    database.execute("INSERT INTO notes VALUES (1)").await;
    mysqld.kill().await;
    mysqld.start_with(&["--read-only=ON"]).await;
    assert_eq!(database.query_i64("SELECT note FROM notes").await, 1);
    assert_eq!(database.query_i64("SELECT @@read_only").await, 1);
    assert!(mysqld.log().contains("ready for connections"));

    let (folder, pid) = (mysqld.folder().to_owned(), mysqld.pid().unwrap());
    drop(mysqld);
    assert!(!folder.exists());
    assert!(!signal::is_alive(pid));
}

/// MariaDB deletes other servers' files in its folder for temporary tables when it starts.
#[tokio::test]
async fn two_servers_share_no_folder_for_temporary_tables() {
    let private = Mysqld::start_private(&[]).await;
    let database = TestDatabase::create_empty_on(&private, "tmpdir").await;
    let shared = TestDatabase::create_empty("tmpdir").await;
    let tmpdir = "SELECT @@tmpdir";
    assert_ne!(database.query_rows(tmpdir).await, shared.query_rows(tmpdir).await);
}

#[tokio::test]
async fn open_transactions_and_waiting_ones_are_seen_per_database() {
    let database = TestDatabase::create_empty("transactions").await;
    let other = TestDatabase::create_empty("transactions").await;
    database.execute("CREATE TABLE notes (note INT PRIMARY KEY) ENGINE = InnoDB").await;
    database.execute("INSERT INTO notes VALUES (1)").await;
    database.assert_no_open_transactions().await;

    let mut holder = database.lock_rows("notes").await;
    let mut waiter = database.connect().await;
    let waiting = tokio::spawn(async move {
        waiter.execute("UPDATE notes SET note = 2").await;
    });
    wait::eventually(LIMIT, "the waiter", async || database.waiting_transactions().await == 1).await;
    assert_eq!(database.open_transactions().await, 2);
    assert_eq!(other.open_transactions().await, 0);
    assert!(database.connection_ids().await.contains(&holder.id()));

    holder.execute("COMMIT").await;
    waiting.await.unwrap();
    database.assert_no_open_transactions().await;
    database.kill_connections().await;
    assert!(holder.try_execute("SELECT 1").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_run_together_and_answer_in_their_order() {
    let all = Arc::new(Barrier::new(50));
    let calls = at_once(50, |number| {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            number
        }
    });
    let answers = tokio::time::timeout(LIMIT, calls).await.unwrap();
    assert_eq!(answers, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
#[should_panic(expected = "waited 50ms in vain for a miracle")]
async fn waiting_has_a_limit() {
    wait::eventually(Duration::from_millis(50), "a miracle", async || false).await;
}

#[test]
fn an_errors_reason_and_metadata_are_read() {
    let mut details = ErrorDetails::new();
    details.set_error_info("OUT_OF_STOCK", "flashsale", [("productId".to_owned(), "7".to_owned())]);
    let status = Status::with_error_details(Code::FailedPrecondition, "Not enough stock", details);
    let status = client::assert_refused(Err::<(), _>(status), Code::FailedPrecondition, "OUT_OF_STOCK");
    assert_eq!(client::metadata(&status)["productId"], "7");
}

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::run(command)
}

#[tokio::test]
async fn a_programs_log_output_and_end_are_seen() {
    let mut process = shell(
        r#"trap 'echo "{\"message\":\"Stopping\"}"; exit 7' TERM
        echo '{"message":"Listening","address":"127.0.0.1:1234"}'
        echo oops >&2
        while :; do read -r _ || :; done"#,
    );
    assert_eq!(process.address(LIMIT).await, "127.0.0.1:1234");
    process.terminate();
    assert_eq!(process.wait_exit(LIMIT).await, 7);
    assert_eq!(process.lines_of("Stopping").len(), 1);
    assert_eq!(process.lines().len(), 2);
    assert_eq!(process.stderr(), "oops");

    let mut killed = shell("kill -9 $$");
    assert_eq!(killed.wait_exit(LIMIT).await, 137);
}

#[tokio::test]
#[should_panic(expected = "never came")]
async fn waiting_for_a_line_ends_with_the_program() {
    shell("exit 3").wait_for_line("Listening", LIMIT * 100).await;
}

/// The name of the test below, and the variable that tells it that it is the child.
const CHILD: &str = "harness::child_that_starts_the_shared_server";
const CHILD_SETTING: &str = "FLASHSALE_TEST_CHILD";

#[test]
#[ignore = "run as a child process by the test after it"]
fn child_that_starts_the_shared_server() {
    if env::var_os(CHILD_SETTING).is_none() {
        return;
    }
    let mysqld = Mysqld::shared();
    let folder = mysqld.folder().display().to_string();
    println!("\n{}", serde_json::json!({"message": "Started", "folder": folder, "pid": mysqld.pid()}));
    // The child is killed meanwhile; the limit is for the case that the parent has gone.
    wait::look_until(LIMIT, || None::<()>);
}

#[tokio::test]
async fn a_test_process_that_is_killed_takes_its_server_and_folder_along() {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([CHILD, "--exact", "--ignored", "--nocapture"]).env(CHILD_SETTING, "1");
    let mut child = Process::run(command);
    let is_started = |line: &&String| line.contains("Started");
    let started = wait::eventually_some(LIMIT * 4, "the child's server", async || {
        child.stdout().iter().find(is_started).cloned()
    })
    .await;
    let started: serde_json::Value = serde_json::from_str(&started).unwrap();
    let pid = u32::try_from(started["pid"].as_u64().unwrap()).unwrap();
    let folder = Path::new(started["folder"].as_str().unwrap());
    assert!(signal::is_alive(pid) && folder.is_dir());

    child.kill();
    wait::eventually(LIMIT, "the end of the child's server", async || !signal::is_alive(pid) && !folder.exists()).await;
}

#[test]
fn the_next_run_removes_what_a_killed_one_left() {
    let place = tempfile::tempdir().unwrap();
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let left = place.path().join(format!("mysqld-{}-abc", ended.id()));
    let in_use = place.path().join(format!("mysqld-{}-abc", process::id()));
    let template = place.path().join("template-abc");
    for folder in [&left, &in_use, &template] {
        fs::create_dir(folder).unwrap();
    }
    // This program stands for the server: its command line names the folder.
    let mut server = Command::new("sh");
    let mut server = server.args(["-c", "read -r _; :"]).arg(&left).stdin(Stdio::piped()).spawn().unwrap();
    fs::write(left.join("server.pid"), format!("{}\n", server.id())).unwrap();
    fs::write(in_use.join("server.pid"), format!("{}\n", server.id())).unwrap();

    mysqld::remove_leftovers(place.path());
    assert!(!left.exists());
    assert!(in_use.is_dir() && template.is_dir());
    assert_eq!(server.wait().unwrap().signal(), Some(9));
}

//! The SQL that each use case really sends, in one golden file each: `tests/it/sql/<use_case>.sql`.
//!
//! A real server does the work on a private database server, whose log says what was sent. Each statement that reads or
//! changes rows is explained among some thousand rows. The comment behind it names the tables that it goes into and the
//! index of each. A full scan, a sort, or another index than the one it forces fails the test whatever the file says.
//!
//! To accept a change, also one that a new use case makes, and look at the difference:
//!
//! ```text
//! EXPECTORATE=overwrite deploy/test sql:: && git diff tests/it/sql
//! ```
//!
//! The files are the same for MariaDB and MySQL. Values that change from run to run are `?`, and a long list is `…`.

mod plan;
mod recorder;
mod shop;
mod text;
mod use_cases;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use flashsale::pb::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{
    database::TestDatabase,
    mysqld::Mysqld,
    server::{TestServer, default_settings},
};
use recorder::Recorder;

/// What no RPC asks for.
const WITHOUT_AN_RPC: [&str; 7] =
    ["audit", "cancel_overdue_orders", "expire_holds", "purge", "repair_available_stock", "sale_figures", "take_back"];

#[tokio::test(flavor = "multi_thread")]
async fn every_use_case_sends_the_sql_of_its_golden_file() {
    let texts = record().await;
    let recorded: BTreeSet<String> = texts.keys().map(|name| (*name).to_owned()).collect();
    let expected: BTreeSet<String> = rpcs().chain(WITHOUT_AN_RPC.map(str::to_owned)).collect();
    assert_eq!(recorded, expected, "a use case isn't recorded: see tests/it/sql/use_cases.rs");
    for (name, text) in &texts {
        expectorate::assert_contents(golden(name), text);
    }
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "sql"));
    let files: BTreeSet<String> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, expected, "a golden file is missing, or its use case is gone");
}

/// Returns the golden text of each use case.
async fn record() -> BTreeMap<&'static str, String> {
    // The recorder sets its own clock, and SYSDATE is to go by it.
    let mysqld = Mysqld::start_private(&["--general-log=ON", "--log-output=TABLE", "--sysdate-is-now"]).await;
    let database = TestDatabase::create_on(&mysqld, "sql").await;
    shop::seed(&database).await;
    let server = TestServer::start_with_pool(&database.url(), 1, default_settings()).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let mut recorder = Recorder::start(&database, mysqld.engine()).await;
    use_cases::buy(&mut recorder, &server.clients).await;
    use_cases::operate(&mut recorder, &server.clients).await;
    use_cases::support(&mut recorder, &server.clients).await;
    use_cases::create_holds(&mut recorder, &server.clients).await;
    use_cases::create_holds_of_a_box_office(&mut recorder, &server.clients).await;
    use_cases::clean_up(&mut recorder, &database, &server.clients).await;
    use_cases::purge(&mut recorder, &database, &server.clients).await;
    let texts = recorder.finish().await;
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
    texts
}

/// Returns the names of all RPCs, as the use cases are called.
fn rpcs() -> impl Iterator<Item = String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.into_iter().flat_map(|file| file.service);
    services.flat_map(|service| service.method).map(|method| snake_case(method.name()))
}

/// Returns `create_hold` for `CreateHold`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for char in name.chars() {
        if char.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
    }
    snake
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql")
}

fn golden(use_case: &str) -> PathBuf {
    folder().join(format!("{use_case}.sql"))
}

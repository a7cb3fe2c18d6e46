//! Covers TLS to the database, on real servers with certificates: who is believed, who is let in, and what is never sent.

mod accounts;
mod downgrade;
mod programs;

use std::path::Path;

use flashsale::{
    config::{DatabaseConfig, SweeperConfig},
    db::{Database, migrate},
};
use tempfile::TempDir;

use crate::support::{
    authority::{Authority, Issued, written},
    database::{RawConnection, TestDatabase},
    mysqld::{Account, Mysqld, url, user},
};

/// Makes a folder for certificates.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Returns the options by which a database server shows a certificate, and believes an authority.
fn shows(folder: &Path, issued: &Issued, authority: &Authority) -> [String; 3] {
    [
        format!("--ssl-cert={}", written(folder, "server.pem", &issued.certificate)),
        format!("--ssl-key={}", written(folder, "server.key", &issued.key)),
        format!("--ssl-ca={}", written(folder, "server-ca.pem", &authority.pem)),
    ]
}

/// Starts a database server that shows a certificate for its address, and makes a database on it.
async fn start(folder: &Path, authority: &Authority) -> (Mysqld, TestDatabase) {
    let options = shows(folder, &authority.issue(&["127.0.0.1"]), authority);
    let mysqld = Mysqld::start_private(&options.each_ref().map(String::as_str)).await;
    let database = TestDatabase::create_on(&mysqld, "database_tls").await;
    (mysqld, database)
}

/// Restarts the server with further options.
async fn restart(mysqld: &Mysqld, options: &[String]) {
    mysqld.stop().await;
    mysqld.start_with(&options.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Says what the service's account demands of whoever logs in.
async fn demand(database: &TestDatabase, demand: &str) {
    let mut root = RawConnection::open(&url(Account::Root, database.port(), "")).await.unwrap();
    root.execute(&format!("ALTER USER '{}'@'127.0.0.1' REQUIRE {demand}", user(Account::Owner))).await;
    root.close().await;
}

/// Reads the settings as a program does.
fn config(url: &str, flags: &[String]) -> DatabaseConfig {
    let args = ["sweeper".to_owned(), format!("--database-url={url}"), "--db-pool-size=1".to_owned()];
    SweeperConfig::from_args(args.iter().chain(flags)).unwrap().database
}

/// Reads from the database with these settings.
async fn readiness(url: &str, flags: &[String]) -> Result<(), String> {
    let database = Database::new(&config(url, flags)).unwrap();
    let missing = migrate::missing(&database).await.map_err(|error| error.to_string())?;
    assert!(missing.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_encrypted_where_the_url_requires_it_and_its_certificate_is_checked() {
    let (folder, authority) = (folder(), Authority::new("nobody's"));
    let (_mysqld, database) = start(folder.path(), &authority).await;
    demand(&database, "SSL").await;
    let url = database.owner_url();
    assert!(readiness(&url, &[]).await.is_err(), "an open session was let in");
    assert!(readiness(&format!("{url}?require_ssl=true"), &[]).await.is_err(), "nobody vouches for this certificate");
    assert_eq!(readiness(&format!("{url}?require_ssl=true&verify_ca=false"), &[]).await, Ok(()));
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_authority_that_is_named_may_vouch_for_the_database_and_for_its_name() {
    let (folder, [ours, other]) = (folder(), ["ours", "another"].map(Authority::new));
    let (mysqld, database) = start(folder.path(), &ours).await;
    let [ca, other_ca] = [("ours.pem", &ours), ("other.pem", &other)]
        .map(|(name, authority)| [format!("--db-ca-file={}", written(folder.path(), name, &authority.pem))]);
    let both = written(folder.path(), "both.pem", &format!("{}{}", other.pem, ours.pem));

    let url = database.owner_url();
    assert_eq!(readiness(&url, &ca).await, Ok(()));
    assert_eq!(readiness(&url, &[format!("--db-ca-file={both}")]).await, Ok(()));
    assert_eq!(readiness(&format!("{url}?require_ssl=true"), &ca).await, Ok(()));
    let strange = readiness(&url, &other_ca).await.unwrap_err();
    assert!(strange.contains("UnknownIssuer"), "{strange}");
    // The same server is at this name, which its certificate doesn't have.
    let misnamed = readiness(&url.replace("127.0.0.1", "localhost"), &ca).await.unwrap_err();
    assert!(misnamed.contains("not valid for name"), "{misnamed}");

    restart(&mysqld, &shows(folder.path(), &other.issue(&["127.0.0.1"]), &other)).await;
    assert!(readiness(&url, &ca).await.is_err());
    database.assert_conserved().await;
}

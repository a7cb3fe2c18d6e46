//! Runs the programs against a database that lets nobody in without TLS.

use std::{fs, time::Duration};

use super::{demand, folder, restart, shows, start};
use crate::support::{
    authority::{Authority, written},
    process::{Process, Program},
    programs::ServerProgram,
    signal, wait,
};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_program_works_over_tls_and_says_so_where_it_believes_another_authority() {
    let (folder, [ours, other]) = (folder(), ["ours", "another"].map(Authority::new));
    let (_mysqld, database) = start(folder.path(), &ours).await;
    demand(&database, "SSL").await;
    let url = database.owner_url();
    let [ca, other_ca] = [("ours.pem", &ours), ("other.pem", &other)]
        .map(|(name, authority)| written(folder.path(), name, &authority.pem));

    for (program, arguments) in [
        (Program::Server, &["migrate", "--seed"][..]),
        (Program::Sweeper, &[]),
        (Program::Sweeper, &["audit"]),
        (Program::Sweeper, &["purge", "--after=1day"]),
    ] {
        let run = async |ca: &str| {
            let settings = [("DATABASE_URL", &*url), ("FLASHSALE_DB_CA_FILE", ca)];
            let mut process = Process::spawn(program, arguments, &settings);
            (process.wait_exit(LIMIT).await, process.stdout().join("\n"))
        };
        let (code, log) = run(&ca).await;
        assert_eq!(code, 0, "{arguments:?}: {log}");
        let (code, log) = run(&other_ca).await;
        assert_eq!(code, 1, "{arguments:?}: {log}");
        assert!(log.contains("UnknownIssuer"), "{arguments:?}: {log}");
    }
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_believes_the_authority_that_its_file_holds_now() {
    let (folder, [old, new]) = (folder(), ["old", "new"].map(Authority::new));
    let (mysqld, database) = start(folder.path(), &old).await;
    let ca = written(folder.path(), "ca.pem", &old.pem);
    let server = ServerProgram::start(&database.owner_url(), &[("FLASHSALE_DB_CA_FILE", &ca)]).await;
    let product = server.clients.create_product("Shoe", 1000, 100).await;
    let pid = server.process.pid();
    let hold = async || server.clients.hold(product.product_id, 1).await;
    hold().await.unwrap();

    // Half a file changes nothing.
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    signal::send(pid, "HUP");
    let refused = server.process.wait_for_line("Credentials can't be read anew, and the old ones stay", LIMIT).await;
    assert!(refused["error"].as_str().unwrap().contains("FLASHSALE_DB_CA_FILE"), "{refused}");
    hold().await.unwrap();

    // Both are believed while the database changes its certificate.
    fs::write(&ca, format!("{}{}", old.pem, new.pem)).unwrap();
    signal::send(pid, "HUP");
    server.process.wait_for_line("Credentials read anew", LIMIT).await;
    hold().await.unwrap();
    restart(&mysqld, &shows(folder.path(), &new.issue(&["127.0.0.1"]), &new)).await;
    wait::eventually(LIMIT, "a hold over the new certificate", async || hold().await.is_ok()).await;

    // Sessions that the old authorities have let in end with the authorities.
    fs::write(&ca, &old.pem).unwrap();
    signal::send(pid, "HUP");
    wait::eventually(LIMIT, "no session over a certificate that nobody vouches for", async || hold().await.is_err())
        .await;
    fs::write(&ca, &new.pem).unwrap();
    signal::send(pid, "HUP");
    wait::eventually(LIMIT, "a hold over the new certificate", async || hold().await.is_ok()).await;
    server.stop().await;
    database.assert_conserved().await;
}

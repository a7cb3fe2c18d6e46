//! Logs in to accounts that demand a certificate, or hash their passwords by `caching_sha2_password`.

use rcgen::{KeyPair, PKCS_RSA_SHA256};

use super::{demand, folder, readiness, restart, shows, start};
use crate::support::{
    authority::{Authority, written},
    mysqld::{Account, Engine, user},
};

/// Is a key for tests alone, as the driver reads it, and the same key as `rcgen` reads it.
const RSA_KEY: &str = include_str!("rsa_pkcs1.pem");
const SAME_KEY: &str = include_str!("rsa_pkcs8.pem");

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_demand_a_certificate_of_the_authority_or_one_subject() {
    let (folder, [ours, other]) = (folder(), ["ours", "another"].map(Authority::new));
    let (_mysqld, database) = start(folder.path(), &ours).await;
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(SAME_KEY, &PKCS_RSA_SHA256).unwrap();
    let key_file = format!("--db-key-file={}", written(folder.path(), "client.key", RSA_KEY));
    let ca = format!("--db-ca-file={}", written(folder.path(), "ours.pem", &ours.pem));
    let shown = |name: &str, authority: &Authority, subject: &str| {
        let certificate = authority.sign(&[], subject, &key);
        let file = written(folder.path(), name, &certificate);
        [ca.clone(), format!("--db-cert-file={file}"), key_file.clone()]
    };
    let [server, sweeper] = ["server", "sweeper"].map(|subject| shown(subject, &ours, subject));
    let stranger = shown("stranger", &other, "server");

    let url = database.owner_url();
    demand(&database, "X509").await;
    assert_eq!(readiness(&url, &server).await, Ok(()));
    assert_eq!(readiness(&url, &sweeper).await, Ok(()));
    assert!(readiness(&url, std::slice::from_ref(&ca)).await.is_err(), "let in without a certificate");
    assert!(readiness(&url, &stranger).await.is_err(), "let in with a stranger's certificate");
    demand(&database, "SUBJECT '/CN=server'").await;
    assert_eq!(readiness(&url, &server).await, Ok(()));
    assert!(readiness(&url, &sweeper).await.is_err(), "let in with another subject");
    demand(&database, "NONE").await;
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_mysqls_default_plugin_logs_in_over_tls_after_every_restart() {
    let (folder, authority) = (folder(), Authority::new("ours"));
    let (mysqld, database) = start(folder.path(), &authority).await;
    let ca = [format!("--db-ca-file={}", written(folder.path(), "ours.pem", &authority.pem))];
    if mysqld.engine() == Engine::MySql {
        let user = user(Account::Owner);
        let plugin = format!("SELECT plugin FROM mysql.user WHERE user = '{user}'");
        assert_eq!(database.query_rows(&plugin).await, [["caching_sha2_password"]]);
    }
    for _ in 0..2 {
        // A restart empties the cache, so the whole password is asked for, and then it is in the cache.
        assert_eq!(readiness(&database.owner_url(), &ca).await, Ok(()));
        assert_eq!(readiness(&database.owner_url(), &ca).await, Ok(()));
        restart(&mysqld, &shows(folder.path(), &authority.issue(&["127.0.0.1"]), &authority)).await;
    }
    database.assert_conserved().await;
}

//! TLS to the database: DATABASE_URL with `require_ssl=true`, against a server that presents a certificate.

use std::{fs, path::Path};

use flashsale::{checkout::Checkout, error::Error};

use crate::support::{
    database::TestDatabase,
    mysqld::Mysqld,
    server::{database_config, default_settings},
};

/// A certificate that nobody vouches for, and its key, as files; the options that make a server present it.
fn certificate(folder: &Path) -> [String; 2] {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&certificate, certified.cert.pem()).unwrap();
    fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    [format!("--ssl-cert={}", certificate.display()), format!("--ssl-key={}", key.display())]
}

async fn readiness(url: &str) -> Result<(), Error> {
    let checkout = Checkout::open(&database_config(url, 1), default_settings())?;
    checkout.readiness(false).await.map(|_totals| ()).map_err(Error::Unavailable)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_encrypted_where_the_url_requires_it_and_its_certificate_is_checked() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [certificate, key] = certificate(folder.path());
    // Whoever is not encrypted doesn't get in.
    let options = [certificate.as_str(), key.as_str(), "--require-secure-transport=ON"];
    let mysqld = Mysqld::start_private(&[&certificate, &key]).await;
    let database = TestDatabase::create_on(&mysqld, "tls").await;
    mysqld.stop().await;
    mysqld.start_with(&options).await;

    let url = database.url();
    assert!(readiness(&url).await.is_err(), "an open session was let in");
    assert!(readiness(&format!("{url}?require_ssl=true")).await.is_err(), "nobody vouches for this certificate");
    assert_eq!(readiness(&format!("{url}?require_ssl=true&verify_ca=false")).await, Ok(()));
}

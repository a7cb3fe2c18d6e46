//! Covers TLS to the database: DATABASE_URL with `require_ssl=true`, on a server with a certificate.

use std::{fs, path::Path};

use flashsale::{checkout::Checkout, error::Error};

use crate::support::{
    database::TestDatabase,
    mysqld::Mysqld,
    server::{database_config, default_settings},
};

/// Makes a certificate that nobody has signed, and its key, as the options by which a server presents it.
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
    // A login without TLS is refused.
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

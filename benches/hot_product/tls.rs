//! Mutual TLS between the load and one of the servers, which knows its callers by a file of principals.

use std::{fs, path::Path, sync::OnceLock};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::support::authority::{Authority, Issued};

const SCHEME: &str = "https://";
/// Names the load in its certificate.
const LOAD: &str = "load.test";

/// Holds how the load is known to the server, and knows it.
static CLIENT: OnceLock<ClientTlsConfig> = OnceLock::new();

/// Makes certificates on the curve P-256 for a server and for the load, and returns the server's settings.
pub(crate) fn settings(folder: &Path) -> Vec<(String, String)> {
    let authority = Authority::new("benchmark");
    let (server, load) = (authority.issue(&["127.0.0.1"]), authority.issue(&[LOAD]));
    let Issued { certificate, key } = load;
    let client = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem));
    let _once = CLIENT.set(client.identity(Identity::from_pem(certificate, key)));
    let principals = format!("load san:dns:{LOAD} checkout,operator\n");
    let files = [
        ("FLASHSALE_TLS_CERT", server.certificate),
        ("FLASHSALE_TLS_KEY", server.key),
        ("FLASHSALE_TLS_CLIENT_CA", authority.pem),
        ("FLASHSALE_PRINCIPALS_FILE", principals),
    ];
    let setting = |(name, text): (&str, String)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        (name.to_owned(), path.to_string_lossy().into_owned())
    };
    files.map(setting).into()
}

/// Returns the address of a server that is called by TLS.
pub(crate) fn url(address: &str) -> String {
    format!("{SCHEME}{address}")
}

/// Returns how a server is called. `None`: in plain text.
pub(crate) fn of_url(address: &str) -> Option<ClientTlsConfig> {
    address.starts_with(SCHEME).then(|| CLIENT.get().cloned()).flatten()
}

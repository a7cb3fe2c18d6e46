//! The settings of TLS to the database.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use rustls::pki_types::PrivateKeyDer;
use secrecy::{ExposeSecret, SecretSlice};
use url::Url;

use super::{
    exposure,
    pem::{self, BadIdentity},
    secret::SettingName,
};
use crate::startup::BadSetting;

pub(super) const CA_FILE: SettingName = SettingName { env: "FLASHSALE_DB_CA_FILE", flag: "db-ca-file" };
const CERT_FILE: SettingName = SettingName { env: "FLASHSALE_DB_CERT_FILE", flag: "db-cert-file" };
const KEY_FILE: SettingName = SettingName { env: "FLASHSALE_DB_KEY_FILE", flag: "db-key-file" };

#[derive(Args)]
pub(super) struct DatabaseTlsArgs {
    /// A file with the authorities (PEM) that alone may sign the database's certificate. Connections to the database are
    /// encrypted then, and the certificate needs the name or IP address that the URL has.
    #[arg(long, env = CA_FILE.env, value_name = "PATH", global = true)]
    db_ca_file: Option<PathBuf>,
    /// A file with the certificate (PEM) that is shown to the database.
    #[arg(long, env = CERT_FILE.env, value_name = "PATH", global = true)]
    db_cert_file: Option<PathBuf>,
    /// A file with the key of that certificate: RSA in PKCS#1, "BEGIN RSA PRIVATE KEY". The database's driver reads no
    /// other kind.
    #[arg(long, env = KEY_FILE.env, value_name = "PATH", hide_env_values = true, global = true)]
    db_key_file: Option<PathBuf>,
}

impl DatabaseTlsArgs {
    pub(super) fn check(self) -> Result<DatabaseTlsFiles, BadSetting> {
        let identity = match (self.db_cert_file, self.db_key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(BadSetting::new(KEY_FILE, format!("is required with {CERT_FILE}"))),
            (None, Some(_)) => return Err(BadSetting::new(CERT_FILE, format!("is required with {KEY_FILE}"))),
        };
        Ok(DatabaseTlsFiles { authorities: self.db_ca_file, identity })
    }
}

/// Names the files of TLS to the database.
#[derive(Debug)]
pub(super) struct DatabaseTlsFiles {
    authorities: Option<PathBuf>,
    /// The certificate's file and the key's.
    identity: Option<(PathBuf, PathBuf)>,
}

impl DatabaseTlsFiles {
    /// Returns the files that [`Self::read`] opens.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.authorities.iter().chain(identity).cloned().collect()
    }

    /// Reads the files, which may be read again later, and checks them. An error names the setting.
    pub(super) fn read(&self) -> Result<DatabaseTls, BadSetting> {
        let authorities = match &self.authorities {
            Some(path) => Some(authorities(path).map_err(|reason| BadSetting::new(CA_FILE, reason))?),
            None => None,
        };
        let identity = match &self.identity {
            Some((certificate, key)) => Some(identity(certificate, key)?),
            None => None,
        };
        Ok(DatabaseTls { authorities, identity })
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = pem::read(path)?;
    pem::authorities(&bytes)?;
    Ok(bytes)
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, BadSetting> {
    let chain_pem = pem::read(certificate).map_err(|reason| BadSetting::new(CERT_FILE, reason))?;
    let key_pem = pem::read(key).map_err(|reason| BadSetting::new(KEY_FILE, reason))?;
    match pem::key(&key_pem) {
        Ok(PrivateKeyDer::Pkcs1(_)) => {}
        Ok(PrivateKeyDer::Pkcs8(_)) => return Err(another_kind("PKCS#8 (\"BEGIN PRIVATE KEY\")")),
        Ok(PrivateKeyDer::Sec1(_)) => return Err(another_kind("EC (\"BEGIN EC PRIVATE KEY\")")),
        Ok(_) => return Err(another_kind("another kind")),
        Err(reason) => return Err(BadSetting::new(KEY_FILE, reason)),
    }
    pem::check_identity(&chain_pem, &key_pem).map_err(|bad| match bad {
        BadIdentity::Certificate(reason) => BadSetting::new(CERT_FILE, reason),
        BadIdentity::Key(reason) => BadSetting::new(KEY_FILE, reason),
    })?;
    Ok(Identity { chain_pem, key_pem: key_pem.into() })
}

/// Says that the driver can't read the key. The driver itself would say only that it found none.
fn another_kind(found: &str) -> BadSetting {
    let reason = format!(
        "holds a key that is {found}, but the database's driver reads only RSA keys in PKCS#1 (\"BEGIN RSA PRIVATE \
        KEY\"): 'openssl rsa -traditional -in KEY -out NEW' writes an RSA key so, and no other kind of key can be used"
    );
    BadSetting::new(KEY_FILE, reason)
}

/// Holds what TLS to the database is made with, as it was read from its files.
#[derive(Clone, Default)]
pub struct DatabaseTls {
    /// The only authorities that are believed, in PEM. `None`: those that the driver knows, where the URL asks for TLS.
    pub authorities: Option<Vec<u8>>,
    /// What is shown to the database.
    pub identity: Option<Identity>,
}

/// Holds a certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and those between it and its authority, in PEM.
    pub chain_pem: Vec<u8>,
    /// Its key, in PEM.
    pub key_pem: SecretSlice<u8>,
}

impl PartialEq for DatabaseTls {
    fn eq(&self, other: &Self) -> bool {
        let texts = |tls: &Self| tls.identity.as_ref().map(|identity| identity.key_pem.expose_secret().to_vec());
        let chain = |tls: &Self| tls.identity.as_ref().map(|identity| identity.chain_pem.clone());
        self.authorities == other.authorities && chain(self) == chain(other) && texts(self) == texts(other)
    }
}

impl fmt::Debug for DatabaseTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DatabaseTls")
            .field("has_authorities", &self.authorities.is_some())
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}

/// Says what a database's URL and the files together come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// Whether the database is on this machine: at a loopback address, or at a socket.
    pub is_local: bool,
    /// Whether connections are encrypted, and the database's certificate and its name are checked.
    pub is_verified: bool,
}

/// Reads from the URL how the database is reached, and checks that the files don't say the opposite.
///
/// # Errors
/// Says what is wrong. The text repeats nothing of the URL but the parameters of TLS.
pub(super) fn transport(url: &str, files: &DatabaseTlsFiles) -> Result<Transport, String> {
    let url = Url::parse(url).map_err(|error| format!("is not a URL ({error})"))?;
    // The driver takes the last of several, too.
    let parameter = |name: &str| url.query_pairs().filter(|(key, _)| key == name).last().map(|(_, value)| value);
    let says = |name: &str, value: &str| parameter(name).is_some_and(|said| said == value);
    if says("verify_identity", "false") {
        return Err(
            "has verify_identity=false, which has no effect: the name in the database's certificate is always \
            checked. verify_ca=false checks neither the certificate nor its name"
                .to_owned(),
        );
    }
    let (has_socket, requires_tls) = (parameter("socket").is_some(), says("require_ssl", "true"));
    if files.authorities.is_some() {
        for (name, value) in [("require_ssl", "false"), ("verify_ca", "false"), ("built_in_roots", "true")] {
            if says(name, value) {
                return Err(format!("has {name}={value}, and {CA_FILE} says the opposite: leave one out"));
            }
        }
        if has_socket {
            return Err(format!("names a socket, which has no TLS, and {CA_FILE} demands TLS: leave one out"));
        }
    } else if files.identity.is_some() && (!requires_tls || has_socket) {
        return Err(format!(
            "asks for no TLS, in which {CERT_FILE} could be shown: it needs {CA_FILE}, or require_ssl=true"
        ));
    }
    let is_verified = files.authorities.is_some() || (requires_tls && !says("verify_ca", "false") && !has_socket);
    Ok(Transport { is_local: has_socket || url.host_str().is_some_and(exposure::is_loopback_name), is_verified })
}

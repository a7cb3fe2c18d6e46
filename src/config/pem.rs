//! Reads certificates and keys from their files, and says what is wrong with them without repeating a key.

use std::path::Path;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::certificates::{self, Unreadable};

/// Reads a file of certificates or of a key. The path isn't repeated: somebody may have put the key itself there.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    certificates::read(path).map_err(|unreadable| match unreadable {
        Unreadable::Io(error) => format!("names a file that can't be read: {error}"),
        Unreadable::TooLarge => unreadable.to_string(),
    })
}

/// Reads the certificates of a PEM file, of which there is at least one.
fn all_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("holds a certificate that isn't PEM".to_owned()),
    }
}

/// Reads the authorities of a PEM file. Each of them has to be a certificate.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in all_certificates(pem)? {
        store.add(certificate).map_err(|_| "holds a certificate that isn't X.509".to_owned())?;
    }
    Ok(store)
}

/// Reads the private key of a PEM file.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "holds no private key in PEM, or one that needs a password".to_owned())
}

/// Says what is wrong with a certificate for a caller, or with its key.
#[derive(Debug)]
pub(super) enum BadIdentity {
    /// The certificates can't be read.
    Certificate(String),
    /// The key can't be read, or is another certificate's.
    Key(String),
}

/// Checks that a caller can show the first certificate, with this key.
pub(super) fn check_identity(chain_pem: &[u8], key_pem: &[u8]) -> Result<(), BadIdentity> {
    let chain = all_certificates(chain_pem).map_err(BadIdentity::Certificate)?;
    let key = key(key_pem).map_err(BadIdentity::Key)?;
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    match config.with_client_auth_cert(chain, key) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(BadIdentity::Key("holds the key of another certificate".to_owned()))
        }
        Err(rustls::Error::InvalidCertificate(_)) => {
            Err(BadIdentity::Certificate("holds a certificate that isn't X.509".to_owned()))
        }
        Err(_) => Err(BadIdentity::Key("holds a key that can't be used".to_owned())),
    }
}

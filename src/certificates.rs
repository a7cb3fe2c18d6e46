//! Reads certificates and keys from PEM files, and refuses those that can't work.
//!
//! The texts of errors continue a sentence that begins with the name of a setting. They hold nothing of a file.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use x509_parser::{parse_x509_certificate, time::ASN1Time};

/// Limits the bytes of a file. All authorities that a system trusts have a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a certificate, with those that vouch for it after it.
///
/// # Errors
/// The file can't be read or holds no certificate, or the first one isn't valid now.
pub fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = read_certificates(file)?;
    let Some(first) = chain.first() else { return Err(format!("holds no certificate: {}", shown(file))) };
    check_time(first).map_err(|reason| format!("{reason}: {}", shown(file)))?;
    Ok(chain)
}

/// Reads a private key, by PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// The file can't be read, or holds no key. Its path isn't repeated: somebody may have put the key in its place.
pub fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(file).map_err(|unreadable| unreadable.to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "holds no private key by PKCS#8, PKCS#1 or SEC1".to_owned())
}

/// Reads the certificates of authorities.
///
/// # Errors
/// The file can't be read or holds no certificate, or one of them can't vouch for others.
pub fn read_authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut authorities = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        let added = authorities.add(certificate);
        added.map_err(|error| format!("holds a certificate that can't be used ({error}): {}", shown(file)))?;
    }
    if authorities.is_empty() {
        return Err(format!("holds no certificate: {}", shown(file)));
    }
    Ok(authorities)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file).map_err(|reason| format!("{reason}: {}", shown(file)))?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("is no file of PEM: {}", shown(file)))
}

fn check_time(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return Err("holds a certificate that is not X.509".to_owned());
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let is_over = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0) < now;
    let validity = parsed.validity();
    if is_over(validity.not_after) {
        return Err(format!("holds a certificate that expired on {}", validity.not_after));
    }
    if !is_over(validity.not_before) && u64::try_from(validity.not_before.timestamp()).unwrap_or(0) > now {
        return Err(format!("holds a certificate that isn't valid before {}", validity.not_before));
    }
    Ok(())
}

/// Says why a file of certificates or of a key can't be read. Its path isn't repeated.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file can't be opened or read.
    #[error("can't be read ({0})")]
    Io(#[from] io::Error),
    /// The file is some other file.
    #[error("has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
}

/// Reads a file of certificates or of a key, of at most 1 MiB: the path may be a pipe without an end.
///
/// # Errors
/// The file can't be read, or has more bytes.
pub fn read(file: &Path) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    Ok(bytes)
}

/// Shows a path, unless somebody put the PEM itself there.
fn shown(file: &Path) -> String {
    let path = file.to_string_lossy();
    if path.contains("-----") {
        return "the path looks like the PEM itself".to_owned();
    }
    format!("'{}'", path.escape_debug())
}

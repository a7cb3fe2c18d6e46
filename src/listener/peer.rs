//! Who is at the other end of a connection.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::unread::Keeps;

/// Describes the other end of a connection. Each request has it among its extensions, as `Arc<Peer>`.
#[derive(Debug)]
pub struct Peer {
    /// Tells the connections of this process apart.
    pub connection_id: u64,
    /// The address that the connection came from, where the system knows it.
    pub address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    /// The names in the certificate that the peer has shown, and that was verified. Empty: it has shown none.
    pub names: Vec<SubjectName>,
    /// What the peer keeps: answers that it doesn't read, and streams.
    pub(crate) keeps: Keeps,
}

/// Holds a subject alternative name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// A DNS name, in lower case.
    Dns(String),
    /// A URI, as it stands in the certificate.
    Uri(String),
}

impl Peer {
    /// Describes the end of a connection in plain text.
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let connection_id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self { connection_id, address, is_tls: false, names: Vec::new(), keeps: Keeps::default() }
    }

    /// Describes the end of an encrypted connection. `names` are those of its verified certificate.
    pub(super) fn encrypted(address: Option<SocketAddr>, names: Vec<SubjectName>) -> Self {
        Self { is_tls: true, names, ..Self::new(address) }
    }
}

/// Returns the DNS names and the URIs that a certificate was made for. Its common name is none of them.
pub(super) fn names(certificate: &[u8]) -> Vec<SubjectName> {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(SubjectName::Dns(name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(SubjectName::Uri((*uri).to_owned())),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificates_names_are_its_alternative_names_and_never_its_common_name() {
        let mut params = CertificateParams::new(vec!["Till.Example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://shop/Till".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "operator.example");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = [SubjectName::Dns("till.example".to_owned()), SubjectName::Uri("spiffe://shop/Till".to_owned())];
        assert_eq!(names(certificate.der()), expected);

        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "operator.example");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(names(certificate.der()), []);
        assert_eq!(names(b"no certificate"), []);
    }
}

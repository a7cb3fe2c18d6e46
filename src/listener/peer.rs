//! Who is at the other end of a connection.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

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
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let connection_id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self { connection_id, address, is_tls: false, names: Vec::new() }
    }
}

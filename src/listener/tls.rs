//! TLS of a listener: which certificate it shows, and whose certificates it demands.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::warn;

use super::peer::{SubjectName, names};
use crate::{certificates, reload::Current, seldom::Seldom};

/// Names HTTP/2 in the handshake.
pub const HTTP2: &[u8] = b"h2";
/// Names HTTP/1.1 in the handshake.
pub const HTTP1: &[u8] = b"http/1.1";

/// Says how often a failed handshake is logged at the most. Whoever scans a network makes many.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Holds the files of a listener's TLS, all in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The listener's certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authorities of the clients' certificates. `None`: clients show none.
    pub client_ca: Option<PathBuf>,
}

/// Names one of [`TlsFiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// The listener's certificate.
    Certificate,
    /// Its key.
    Key,
    /// The authorities of the clients' certificates.
    ClientCa,
}

/// Holds what the files say.
#[derive(Debug)]
pub struct TlsSettings {
    demanding: Arc<ServerConfig>,
    /// Lets in a client that shows no certificate. One that is shown is verified all the same.
    lenient: Arc<ServerConfig>,
}

impl TlsSettings {
    /// Reads the files. `protocols` are the versions of HTTP that a client may ask for: [`HTTP2`], [`HTTP1`].
    ///
    /// # Errors
    /// Says which file can't be used, and why, as the rest of a sentence that begins with the file's setting.
    pub fn read(files: &TlsFiles, protocols: &[&[u8]]) -> Result<Self, (TlsFile, String)> {
        let chain = certificates::read_chain(&files.certificate).map_err(|reason| (TlsFile::Certificate, reason))?;
        let key = certificates::read_key(&files.key).map_err(|reason| (TlsFile::Key, reason))?;
        let verifiers = match &files.client_ca {
            Some(file) => Some(verifiers(file).map_err(|reason| (TlsFile::ClientCa, reason))?),
            None => None,
        };
        let config = |verifier: Option<Arc<dyn ClientCertVerifier>>| {
            let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| (TlsFile::Certificate, format!("can't be used: {error}")))?;
            let verifies = verifier.is_some();
            let builder = match verifier {
                Some(verifier) => builder.with_client_cert_verifier(verifier),
                None => builder.with_no_client_auth(),
            };
            let config = builder.with_single_cert(chain.clone(), key.clone_key());
            let mut config = config.map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => (TlsFile::Key, "isn't the key of the certificate".to_owned()),
                error => (TlsFile::Certificate, format!("can't be used with its key: {error}")),
            })?;
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            if verifies {
                // A session that goes on isn't verified again, and its certificate may have expired.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            Ok(Arc::new(config))
        };
        Ok(match verifiers {
            Some((demanding, lenient)) => Self { demanding: config(Some(demanding))?, lenient: config(Some(lenient))? },
            None => {
                let config = config(None)?;
                Self { demanding: Arc::clone(&config), lenient: config }
            }
        })
    }
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// Returns what verifies clients that have to show a certificate, and those that may.
fn verifiers(client_ca: &std::path::Path) -> Result<(Verifier, Verifier), String> {
    let authorities = Arc::new(certificates::read_authorities(client_ca)?);
    let builder = || {
        let provider = Arc::new(ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities), provider)
    };
    let bad = |error| format!("can't be used: {error}");
    let demanding = builder().build().map_err(bad)?;
    let lenient = builder().allow_unauthenticated().build().map_err(bad)?;
    Ok((demanding, lenient))
}

/// Encrypts the connections of a listener.
#[derive(Clone)]
pub struct Tls {
    settings: Current<TlsSettings>,
    /// Whether a client may do without a certificate at the moment.
    is_lenient: Arc<dyn Fn() -> bool + Send + Sync>,
    failures: Arc<Seldom>,
}

impl Tls {
    /// Encrypts by these settings, whatever they are when a connection comes.
    ///
    /// Where clients are verified, one without a certificate is let in only while `is_lenient`: it then has to have
    /// something else to be known by.
    pub fn new(settings: Current<TlsSettings>, is_lenient: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { settings, is_lenient: Arc::new(is_lenient), failures: Arc::new(Seldom::every(SAID_AGAIN_AFTER)) }
    }

    /// Does the handshake. Returns the connection, and the verified names of the client.
    ///
    /// # Errors
    /// The handshake failed. The connection is returned for its end, since an alert may be on its way.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Vec<SubjectName>), (io::Error, TcpStream)> {
        let settings = self.settings.get();
        let config = if (self.is_lenient)() { &settings.lenient } else { &settings.demanding };
        let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).into_fallible().await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let names = shown.map(|certificate| names(certificate)).unwrap_or_default();
        Ok((stream, names))
    }

    /// Logs that a handshake failed, at most once a minute.
    pub(super) fn failed(&self, error: &io::Error, peer: Option<std::net::SocketAddr>) {
        if self.failures.is_time() {
            let peer = peer.map(tracing::field::display);
            warn!(%error, peer, "A TLS handshake failed; others that fail are not logged for a minute");
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls")
    }
}

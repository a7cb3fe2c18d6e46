//! Connects by TLS below the level of a client, and calls by gRPC over it.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Endpoint, Error};
use tower::service_fn;

use crate::support::{
    authority::{Authority, Issued},
    client::Clients,
    process::{Process, Program},
};

pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// No database listens there. Health's `liveness` doesn't depend on it.
const NO_DATABASE: (&str, &str) = ("DATABASE_URL", "mysql://root@127.0.0.1:1/sale");

/// Says how a test connects.
pub(super) struct Caller<'c> {
    pub(super) believes: &'c Authority,
    pub(super) shows: Option<&'c Issued>,
    pub(super) asks_for: &'c [&'c [u8]],
}

impl<'c> Caller<'c> {
    pub(super) fn of(believes: &'c Authority) -> Self {
        Self { believes, shows: None, asks_for: &[b"h2"] }
    }

    pub(super) fn showing(believes: &'c Authority, shows: &'c Issued) -> Self {
        Self { shows: Some(shows), ..Self::of(believes) }
    }

    /// Does a handshake with who listens at `address`, as `localhost`.
    pub(super) async fn connect(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.believes.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match self.shows {
            Some(shown) => {
                let chain = vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.asks_for.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await?;
        timeout(LIMIT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("a handshake")
    }

    /// Connects for calls by gRPC.
    pub(super) async fn clients(&self, address: &str) -> Result<Clients, Error> {
        let mut connected = Some(self.connect(address).await);
        let once = service_fn(move |_| {
            let connected = connected.take();
            async move { connected.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into())).map(TokioIo::new) }
        });
        Ok(Clients::over(Endpoint::from_static("http://localhost").connect_with_connector(once).await?))
    }

    /// Whether a call is answered: in TLS 1.3 a client learns only then that its certificate is refused.
    pub(super) async fn is_served(&self, address: &str) -> bool {
        match self.clients(address).await {
            Ok(clients) => timeout(LIMIT, clients.health("liveness")).await.expect("an answer").is_ok(),
            Err(_refused) => false,
        }
    }
}

/// Starts a server with TLS and without a database, and returns where it listens.
pub(super) async fn server(settings: &[(&str, String)]) -> (Process, String) {
    let own = [NO_DATABASE, ("FLASHSALE_LISTEN", "127.0.0.1:0"), ("FLASHSALE_METRICS_LISTEN", "127.0.0.1:0")];
    started(Program::Server, &own, settings).await
}

/// Starts a gateway with TLS and without a server, and returns where it listens.
pub(super) async fn gateway(settings: &[(&str, String)]) -> (Process, String) {
    let own = [
        ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true"),
        ("FLASHSALE_GATEWAY_LISTEN", "127.0.0.1:0"),
        ("FLASHSALE_METRICS_LISTEN", "127.0.0.1:0"),
    ];
    started(Program::Gateway, &own, settings).await
}

async fn started(program: Program, own: &[(&str, &str)], settings: &[(&str, String)]) -> (Process, String) {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let process = Process::spawn(program, &[], &own.iter().copied().chain(settings).collect::<Vec<_>>());
    let address = process.address(LIMIT).await;
    (process, address)
}

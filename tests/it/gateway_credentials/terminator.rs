//! Ends TLS in front of a server, and demands a certificate of whoever calls.

use std::{
    io,
    sync::{Arc, Mutex},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::support::authority::{Authority, Issued};

/// Listens on loopback as long as this value lives.
pub(super) struct Terminator {
    pub(super) port: u16,
    /// The certificate of each connection, in the order of their coming.
    shown: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    listening: JoinHandle<()>,
}

impl Terminator {
    /// Shows this certificate, and lets in whom these authorities vouch for.
    pub(super) async fn start(server: &str, shows: &Issued, believes: &[&Authority]) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in believes {
            roots.add(certificate(&authority.pem)).unwrap();
        }
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate(&shows.certificate)],
                PrivateKeyDer::from_pem_slice(shows.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols.push(b"h2".to_vec());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, shown) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<_>>>::default());
        let (seen, server) = (Arc::clone(&shown), server.to_owned());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, acceptor.clone(), server.clone(), Arc::clone(&seen)));
            }
        });
        Self { port, shown, listening }
    }

    /// Whether a connection has shown this certificate.
    pub(super) fn has_seen(&self, pem: &str) -> bool {
        self.shown.lock().unwrap().contains(&certificate(pem))
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn pass(
    client: TcpStream,
    acceptor: TlsAcceptor,
    server: String,
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
) -> io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let shown = client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    seen.lock().unwrap().push(shown);
    let mut server = TcpStream::connect(server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

//! How a client connects.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{Uri, header::AUTHORIZATION};
use tonic::{
    metadata::{Ascii, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    addresses::{ADDRESSES_MAX, Addresses},
    client::{Client, Shared},
    repeats::{Budget, Repeat},
};

/// Limits a call where nobody says how long it may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Limits how long connecting may take. It is also never more than half of a call's time.
///
/// So a caller learns that there is no connection, rather than that its time is up.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Says how often an idle connection is probed. With [`PROBE_TIME_MAX`], a server that vanished is noticed within 15 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Limits how long a probe may go without an answer before the connection is dropped.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Adds metadata to each attempt of a call.
pub(crate) type AddMetadata = Arc<dyn Fn(&mut MetadataMap) + Send + Sync>;

/// Says where the service is and how it is called. [`Builder::connect`] makes the client.
#[derive(Clone)]
pub struct Builder {
    addresses: Vec<Uri>,
    deadline: Duration,
    repeat: Repeat,
    add_metadata: Option<AddMetadata>,
    token: Option<MetadataValue<Ascii>>,
    #[cfg(feature = "tls")]
    tls: Tls,
}

impl Builder {
    pub(crate) fn new(addresses: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, ConnectError> {
        let addresses = addresses.into_iter().map(|text| address(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if !(1..=ADDRESSES_MAX).contains(&addresses.len()) {
            return Err(ConnectError::Count(addresses.len()));
        }
        Ok(Self {
            addresses,
            deadline: DEADLINE,
            repeat: Repeat::Temporary,
            add_metadata: None,
            token: None,
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        })
    }

    /// Limits how long a call may take with all its repeats; 10 s unless said otherwise.
    ///
    /// [`Client::within`] changes it for single calls.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Says which calls are repeated; [`Repeat::Temporary`] unless said otherwise.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Adds metadata to each attempt of each call, such as a token or the trace context.
    ///
    /// `add` runs in the caller's task. So what is current there, such as a span, is current in `add`.
    #[must_use]
    pub fn metadata(mut self, add: impl Fn(&mut MetadataMap) + Send + Sync + 'static) -> Self {
        self.add_metadata = Some(Arc::new(add));
        self
    }

    /// Shows the service this token with each attempt of each call, as `authorization: Bearer …`.
    ///
    /// Every address has to be `https://`, or on this machine: what is sent in plain text belongs to everybody on the
    /// way.
    ///
    /// # Errors
    /// The token is empty, or has characters that a header can't have. The error doesn't repeat it.
    pub fn token(mut self, token: &str) -> Result<Self, ConnectError> {
        let is_whole = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = is_whole.then(|| format!("Bearer {token}").parse().ok()).flatten();
        let mut value: MetadataValue<Ascii> = value.ok_or(ConnectError::Token)?;
        // It is left out of debugging output, and of the tables that HTTP/2 compresses headers with.
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Believes the certificates that these authorities have signed, and no others. `pem` may hold several.
    ///
    /// Unless it is called, those that the system trusts are believed. An authority that isn't X.509 is passed over. It is
    /// for `https://` addresses.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn ca(mut self, pem: impl AsRef<[u8]>) -> Self {
        let authorities = tonic::transport::Certificate::from_pem(pem);
        self.tls = Tls { config: self.tls.config.ca_certificate(authorities), trusts_system: false };
        self
    }

    /// Shows the service this certificate, with the authorities between it and the service's own, and this key.
    ///
    /// It is for `https://` addresses.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn identity(mut self, certificate_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> Self {
        let identity = tonic::transport::Identity::from_pem(certificate_pem, key_pem);
        self.tls.config = self.tls.config.identity(identity);
        self
    }

    /// Says all about TLS at once, such as another name that the service's certificate has.
    ///
    /// What [`Builder::ca`] and [`Builder::identity`] have said before is forgotten. It is for `https://` addresses.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: tonic::transport::ClientTlsConfig) -> Self {
        self.tls = Tls { config: tls, trusts_system: false };
        self
    }

    /// Makes the client. It connects when it is first called, and again whenever a connection is lost.
    ///
    /// Must be called on a tokio runtime.
    ///
    /// # Errors
    /// An address is `https://` and the certificates can't be read, or there is a token and an address is neither
    /// `https://` nor on this machine.
    pub fn connect(self) -> Result<Client, ConnectError> {
        if self.token.is_some() && self.addresses.iter().any(is_open_to_others) {
            return Err(ConnectError::TokenInPlainText);
        }
        let channels = self.addresses.iter().map(|uri| self.channel(uri)).collect::<Result<Vec<_>, _>>()?;
        let shared = Shared {
            addresses: Addresses::new(channels),
            budget: Budget::new(),
            repeat: self.repeat,
            add_metadata: self.add_metadata,
            token: self.token,
        };
        Ok(Client::new(shared, self.deadline))
    }

    fn channel(&self, uri: &Uri) -> Result<Channel, ConnectError> {
        let endpoint = self.secured(Endpoint::from(uri.clone()))?;
        Ok(endpoint
            .connect_timeout(CONNECT_TIME_MAX.min(self.deadline / 2))
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIME_MAX)
            .keep_alive_while_idle(true)
            // The HTTP/2 library counts an answer to a call that was given up as a fault of the server. With its
            // default it would close the connection, with all calls on it, at the 1,024th such answer.
            .http2_max_local_error_reset_streams(None)
            .connect_lazy())
    }

    #[cfg(feature = "tls")]
    fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, ConnectError> {
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let Tls { config, trusts_system } = self.tls.clone();
        let config = if trusts_system { config.with_native_roots() } else { config };
        endpoint.tls_config(config).map_err(ConnectError::Certificates)
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, ConnectError> {
        Ok(endpoint)
    }
}

/// Says how `https://` addresses are called.
#[cfg(feature = "tls")]
#[derive(Clone)]
struct Tls {
    config: tonic::transport::ClientTlsConfig,
    /// Whether the certificates that the system trusts are believed.
    trusts_system: bool,
}

#[cfg(feature = "tls")]
impl Default for Tls {
    fn default() -> Self {
        Self { config: tonic::transport::ClientTlsConfig::new(), trusts_system: true }
    }
}

/// Adds the token to a call.
pub(crate) fn show_token(token: &MetadataValue<Ascii>, metadata: &mut MetadataMap) {
    metadata.insert(AUTHORIZATION.as_str(), token.clone());
}

/// Whether what is sent to this address goes in plain text, and may leave the machine.
fn is_open_to_others(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_here = match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    uri.scheme_str() != Some("https") && !is_here
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("addresses", &self.addresses)
            .field("deadline", &self.deadline)
            .field("repeat", &self.repeat)
            .finish_non_exhaustive()
    }
}

/// Reads an address: a scheme, a host and perhaps a port. A client of gRPC would ignore anything else.
fn address(text: &str) -> Result<Uri, ConnectError> {
    let fault = |why| ConnectError::Address { why };
    let uri: Uri = text.parse().map_err(|_| fault("it is no URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => return Err(fault("https:// needs the feature tls")),
        _ => return Err(fault("it doesn't start with http:// or https://")),
    }
    let authority = uri.authority().ok_or_else(|| fault("it has no host"))?;
    if authority.host().is_empty() {
        return Err(fault("it has no host"));
    }
    if authority.as_str().contains('@') {
        return Err(fault("it has a user"));
    }
    if authority.as_str() != authority.host() && authority.port_u16().is_none() {
        return Err(fault("its port is not from 0 to 65535"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(fault("it has a path"));
    }
    Ok(uri)
}

/// Says why there can be no client. An address is not repeated, since it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// An address can't be called.
    #[error("expected an address like http://127.0.0.1:50051, but {why}")]
    Address {
        /// What is wrong with it.
        why: &'static str,
    },
    /// There are no addresses, or too many.
    #[error("expected 1 to 64 addresses, not {0}")]
    Count(usize),
    /// TLS can't be set up.
    #[error("the certificates can't be read")]
    Certificates(#[source] tonic::transport::Error),
    /// A token can't be sent.
    #[error("the token is empty, or has spaces or characters that aren't ASCII")]
    Token,
    /// A token would be sent in plain text.
    #[error("a token is only sent to an https:// address, or to one on this machine")]
    TokenInPlainText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port_only() {
        for text in ["http://127.0.0.1:50051", "http://[::1]:50051/", "http://server.internal", "https://server"] {
            assert!(Builder::new([text]).is_ok(), "{text}");
        }
        for (text, why) in [
            ("", "no URL"),
            ("ftp://127.0.0.1:50051", "http:// or https://"),
            ("server:50051", "http:// or https://"),
            ("http://:password@127.0.0.1:50051", "a user"),
            ("http://127.0.0.1:99999", "port"),
            ("http://127.0.0.1:50051/prefix", "a path"),
        ] {
            let error = Builder::new([text]).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("password"), "{text}: {error}");
        }
    }

    #[test]
    fn a_client_has_1_to_64_addresses() {
        assert!(matches!(Builder::new([""; 0]), Err(ConnectError::Count(0))));
        assert!(matches!(Builder::new(["http://server"; 65]), Err(ConnectError::Count(65))));
        assert!(Builder::new(["http://server"; 64]).is_ok());
    }

    #[tokio::test]
    async fn a_token_leaves_the_machine_only_by_tls_and_is_never_shown() {
        let built = |address| Builder::new([address]).unwrap().token("hunter2").unwrap();
        for address in ["https://server", "http://127.0.0.1:1", "http://[::1]:1", "http://LocalHost:1"] {
            assert!(built(address).connect().is_ok(), "{address}");
        }
        for address in ["http://server", "http://10.0.0.1:1", "http://localhost.example:1", "http://[::2]:1"] {
            let error = built(address).connect().unwrap_err();
            assert!(matches!(error, ConnectError::TokenInPlainText), "{address}: {error}");
        }
        assert!(!format!("{:?}", built("http://server").token).contains("hunter2"));
        for token in ["", "hunter 2", "hunter2\n", "hünter2"] {
            let error = Builder::new(["https://server"]).unwrap().token(token).unwrap_err().to_string();
            assert!(!error.contains("unter"), "{error}");
        }
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_key_that_is_none_is_refused_at_once() {
        let built = Builder::new(["https://server"]).unwrap().identity("", "").connect();
        assert!(matches!(built, Err(ConnectError::Certificates(_))));
    }
}

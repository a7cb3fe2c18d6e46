//! How a client connects.

use std::{fmt, sync::Arc, time::Duration};

use http::Uri;
use tonic::{
    metadata::MetadataMap,
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
    #[cfg(feature = "tls")]
    tls: Option<tonic::transport::ClientTlsConfig>,
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
            #[cfg(feature = "tls")]
            tls: None,
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

    /// Says which certificates are believed and shown; those that the system trusts, and none, unless said otherwise.
    ///
    /// It is for `https://` addresses only.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: tonic::transport::ClientTlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes the client. It connects when it is first called, and again whenever a connection is lost.
    ///
    /// Must be called on a tokio runtime.
    ///
    /// # Errors
    /// An address is `https://` and the certificates can't be read.
    pub fn connect(self) -> Result<Client, ConnectError> {
        let channels = self.addresses.iter().map(|uri| self.channel(uri)).collect::<Result<Vec<_>, _>>()?;
        let shared = Shared {
            addresses: Addresses::new(channels),
            budget: Budget::new(),
            repeat: self.repeat,
            add_metadata: self.add_metadata,
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
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => tonic::transport::ClientTlsConfig::new().with_native_roots(),
        };
        endpoint.tls_config(tls).map_err(ConnectError::Certificates)
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, ConnectError> {
        Ok(endpoint)
    }
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
}

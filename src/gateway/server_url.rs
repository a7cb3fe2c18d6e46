//! The address of the server that the gateway calls.

use std::str::FromStr;

use http::Uri;

/// Holds the server's address: `http://` or `https://`, a host, perhaps a port, and nothing else.
///
/// A gRPC client uses only these parts. It would ignore a user, a path or a query, so an address with one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Uri);

/// Says what an address lacks, or has too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}, like http://127.0.0.1:50051")]
pub struct ServerUrlError(&'static str);

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let Ok(uri) = text.parse::<Uri>() else { return Err(ServerUrlError("a URL")) };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(ServerUrlError("a URL that starts with http:// or https://"));
        }
        let Some(authority) = uri.authority() else { return Err(ServerUrlError("a URL with a host")) };
        if authority.as_str().contains('@') {
            return Err(ServerUrlError("a URL without a user"));
        }
        if authority.host().is_empty() {
            return Err(ServerUrlError("a URL with a host"));
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(ServerUrlError("a URL with a port from 0 to 65535"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(ServerUrlError("a URL without a path"));
        }
        Ok(Self(uri))
    }
}

impl ServerUrl {
    /// Whether the address demands TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Returns the host. An IPv6 address has its brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Returns the address as a client of gRPC takes it.
    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port_only() {
        for text in ["http://127.0.0.1:50051", "http://[::1]:50051/", "http://server.internal", "https://server"] {
            assert!(text.parse::<ServerUrl>().is_ok(), "{text}");
        }
        for (text, what) in [
            ("ftp://127.0.0.1:50051", "http:// or https://"),
            ("server:50051", "http:// or https://"),
            ("/server", "http:// or https://"),
            ("http://user@127.0.0.1:50051", "without a user"),
            ("http://:password@127.0.0.1:50051", "without a user"),
            ("http://127.0.0.1:99999", "a port"),
            ("http://127.0.0.1:50051/prefix", "without a path"),
            ("http://127.0.0.1:50051/?a=b", "without a path"),
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(error.contains(what) && error.ends_with(", like http://127.0.0.1:50051"), "{text}: {error}");
            assert!(!error.contains("password"), "{error}");
        }
    }
}

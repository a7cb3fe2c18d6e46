//! How the gateway knows the server, and how it is known there.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// Holds what the gateway believes and what it shows, as it was read from its files.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The only authorities that may sign the server's certificate, in PEM. `None`: those that the system trusts.
    pub authorities: Option<Vec<u8>>,
    /// The certificate that is shown to the server, with those between it and its authority, and its key. Both are PEM.
    pub identity: Option<(Vec<u8>, SecretSlice<u8>)>,
    /// The token that is shown to the server with each call.
    pub token: Option<SecretString>,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let identity = |credentials: &Self| {
            credentials.identity.as_ref().map(|(chain, key)| (chain.clone(), key.expose_secret().to_vec()))
        };
        let token = |credentials: &Self| credentials.token.as_ref().map(|token| token.expose_secret().to_owned());
        self.authorities == other.authorities && identity(self) == identity(other) && token(self) == token(other)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("has_authorities", &self.authorities.is_some())
            .field("has_identity", &self.identity.is_some())
            .field("has_token", &self.token.is_some())
            .finish()
    }
}

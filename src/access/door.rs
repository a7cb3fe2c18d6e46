//! The verdict on a call: who calls, and whether that caller may.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION};

use super::{
    caller::Caller,
    methods::{Callers, Roles, callers},
    principals::{NoSubject, Principal, Principals},
    token::TokenHash,
};
use crate::{listener::Peer, reload::Current};

/// Begins a header with a token. Letters of either case are the same.
const BEARER: &str = "bearer ";

/// Decides who may call what. Clones share the principals.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// `None`: everybody may call everything.
    principals: Option<Current<Principals>>,
}

/// Says why a call was refused. A caller learns only which of the two it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// Nobody knows who calls.
    Unauthenticated {
        /// Why, for the log.
        cause: &'static str,
    },
    /// A principal calls what it may not.
    PermissionDenied {
        /// The principal's name.
        principal: Arc<str>,
    },
}

impl Denied {
    /// Returns the name of the principal, where it is known.
    pub fn principal(&self) -> Option<&Arc<str>> {
        match self {
            Self::Unauthenticated { .. } => None,
            Self::PermissionDenied { principal } => Some(principal),
        }
    }

    /// Says in a few words why, for the log.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unauthenticated { cause } => cause,
            Self::PermissionDenied { .. } => "no role for this method",
        }
    }
}

impl Access {
    /// Lets everybody call everything.
    pub fn for_everybody() -> Self {
        Self::default()
    }

    /// Lets principals call what they may. A new value counts from the next call on, on each connection.
    pub fn for_principals(principals: Current<Principals>) -> Self {
        Self { principals: Some(principals) }
    }

    /// Whether there is a file of principals.
    pub fn is_for_principals(&self) -> bool {
        self.principals.is_some()
    }

    /// Whether there is a file of principals, and nobody in it.
    pub fn is_for_nobody(&self) -> bool {
        self.principals.as_ref().is_some_and(|principals| principals.get().count() == 0)
    }

    /// Whether somebody is known by a token, and so needs no certificate.
    pub fn knows_tokens(&self) -> bool {
        self.principals.as_ref().is_some_and(|principals| principals.get().have_tokens())
    }

    /// Decides about a call of the method at `path`, such as `/flashsale.v1.FlashSaleService/CreateHold`.
    ///
    /// # Errors
    /// The caller isn't known, or may not call this method.
    pub fn admit(&self, path: &str, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Denied> {
        let Some(current) = &self.principals else { return Ok(Caller::Connection(peer.connection_id)) };
        let needed = match callers(path) {
            Callers::Anybody => return Ok(Caller::Connection(peer.connection_id)),
            Callers::EveryPrincipal => None,
            Callers::With(roles) => Some(roles),
        };
        let principals = current.get();
        let principal = identify(&principals, headers, peer).map_err(|cause| Denied::Unauthenticated { cause })?;
        let name = Arc::clone(&principal.name);
        if needed.is_none_or(|needed: Roles| needed.meet(principal.roles)) {
            Ok(Caller::Principal(name))
        } else {
            Err(Denied::PermissionDenied { principal: name })
        }
    }
}

/// Returns who calls. A header `authorization` decides alone, also where the connection has shown a certificate.
///
/// A caller that sends a token means to be judged by it: a wrong one must not pass for the certificate of a proxy
/// between.
fn identify<'p>(principals: &'p Principals, headers: &HeaderMap, peer: &Peer) -> Result<&'p Principal, &'static str> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    if let Some(authorization) = authorizations.next() {
        if authorizations.next().is_some() {
            return Err("several authorization headers");
        }
        if !peer.is_tls && !is_loopback(peer) {
            return Err("a token in plain text");
        }
        let token = bearer(authorization.as_bytes()).ok_or("no bearer token in the authorization header")?;
        let hash = TokenHash::of_presented(token).ok_or("a token that is too short or too long")?;
        return principals.by_token(&hash).ok_or("an unknown token");
    }
    if peer.names.is_empty() {
        return Err("no credentials");
    }
    principals.by_names(&peer.names).map_err(|no_subject| match no_subject {
        NoSubject::Unknown => "a certificate with unknown names",
        NoSubject::Several => "a certificate with the names of several principals",
    })
}

/// Returns the token of a header `Bearer TOKEN`.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER.as_bytes()).then(|| token.trim_ascii())
}

/// Whether the peer is a program on this machine, which no network lies between.
fn is_loopback(peer: &Peer) -> bool {
    peer.address.is_some_and(|address| match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
    })
}

#[cfg(test)]
mod tests;

//! Standard Webhooks 1.0, symmetric (`v1`).
//!
//! | header | or | holds |
//! |---|---|---|
//! | `webhook-id` | `svix-id` | the sender's id of the message, without a full stop |
//! | `webhook-timestamp` | `svix-timestamp` | when it was sent, in seconds since 1970 (UTC), decimal digits only |
//! | `webhook-signature` | `svix-signature` | `v1,BASE64`; several are separated by spaces, and other versions are skipped |
//!
//! Svix has other names for the same headers. Each header may have either name. With both, the values must be the same.
//! The signature is over `id.timestamp.body`. The crate `standardwebhooks` accepts an empty secret and overflows on
//! extreme timestamps, so only the tests use it, as an independent sender.
//! Source: the Standard Webhooks specification, version 1.0.0, "Verifying webhook authenticity".

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use http::HeaderMap;

use super::{Key, SignatureError, at_most_once, check_age, check_signatures};

/// Says how few bytes a decoded secret may have: the specification's 192 bits.
const SECRET_BYTES_MIN: usize = 24;
/// Limits the bytes of a decoded secret: the specification's 512 bits.
const SECRET_BYTES_MAX: usize = 64;

const PREFIX: &str = "whsec_";

/// Names each header by the specification, and then by Svix.
const ID: [&str; 2] = ["webhook-id", "svix-id"];
const TIMESTAMP: [&str; 2] = ["webhook-timestamp", "svix-timestamp"];
const SIGNATURE: [&str; 2] = ["webhook-signature", "svix-signature"];

/// Says whether webhooks have to be signed.
#[derive(Clone, Debug)]
pub enum WebhookAuth {
    /// Every webhook is accepted. This is only for trying things out.
    Unsigned,
    /// A webhook must be signed with one of these secrets. There are two while a secret is being replaced. An empty
    /// list refuses every webhook.
    Signed(Vec<WebhookSecret>),
}

/// Holds a secret that the payment provider shares. It can't be printed.
#[derive(Clone)]
pub struct WebhookSecret(Key);

impl WebhookSecret {
    /// Reads a secret: 24 to 64 bytes in Base64 (padded or not), with or without the prefix `whsec_`.
    ///
    /// White space around it is ignored.
    ///
    /// # Errors
    /// The text is no secret. The error has no part of the text.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let text = text.trim();
        let bytes = STANDARD_PAD_INDIFFERENT
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .map_err(|_| WebhookSecretError::NotBase64)?;
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(WebhookSecretError::TooShort { bytes: bytes.len() });
        }
        let too_long = WebhookSecretError::TooLong { bytes: bytes.len() };
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(too_long);
        }
        Key::new(&bytes).map(Self).ok_or(too_long)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret(hidden)")
    }
}

/// Says why a text is no webhook secret, without any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookSecretError {
    /// It isn't Base64.
    #[error("a webhook secret must be Base64, with or without the prefix {PREFIX}")]
    NotBase64,
    /// It has fewer than 24 bytes.
    #[error("a webhook secret must have at least {SECRET_BYTES_MIN} bytes when decoded, this one has {bytes}")]
    TooShort {
        /// Length of the decoded secret.
        bytes: usize,
    },
    /// It has more than 64 bytes.
    #[error("a webhook secret must have at most {SECRET_BYTES_MAX} bytes when decoded, this one has {bytes}")]
    TooLong {
        /// Length of the decoded secret.
        bytes: usize,
    },
}

impl WebhookAuth {
    /// Checks the signature of the raw `body`. `now` is in seconds since 1970 (UTC).
    pub(in crate::gateway) fn verify(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), SignatureError> {
        let secrets = match self {
            Self::Unsigned => return Ok(()),
            Self::Signed(secrets) => secrets,
        };
        let id = by_either_name(headers, ID)?;
        // With a full stop in the id, one signed text could be cut into id, timestamp and body in several ways.
        if id.contains(&b'.') {
            return Err(SignatureError::Header(ID[0]));
        }
        let timestamp = by_either_name(headers, TIMESTAMP)?;
        check_age(timestamp, now)?;
        let signatures = by_either_name(headers, SIGNATURE)?
            .split(|byte| *byte == b' ')
            .filter_map(|entry| entry.strip_prefix(b"v1,"))
            .filter_map(|base64| STANDARD.decode(base64).ok());
        let keys = secrets.iter().map(|secret| &secret.0);
        check_signatures(keys, &[id, b".", timestamp, b".", body], signatures)
    }
}

/// Returns the value of a header that must be there, under one name or with one value under both. It isn't empty.
fn by_either_name<'h>(headers: &'h HeaderMap, names: [&'static str; 2]) -> Result<&'h [u8], SignatureError> {
    let value = match (at_most_once(headers, names[0])?, at_most_once(headers, names[1])?) {
        (Some(value), None) | (None, Some(value)) => Some(value),
        (Some(value), Some(same)) if value == same => Some(value),
        (Some(_), Some(_)) | (None, None) => None,
    };
    value.filter(|value| !value.is_empty()).ok_or(SignatureError::Header(names[0]))
}

#[cfg(test)]
mod tests;

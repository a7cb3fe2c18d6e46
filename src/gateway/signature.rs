//! Checks the signatures of payment webhooks: Standard Webhooks 1.0, symmetric (`v1`).
//!
//! | header | holds |
//! |---|---|
//! | `webhook-id` | the sender's id of the message, without a full stop |
//! | `webhook-timestamp` | when it was sent, in seconds since 1970 (UTC), decimal digits only |
//! | `webhook-signature` | `v1,BASE64`; several are separated by spaces, and other versions are skipped |
//!
//! The signature is HMAC-SHA256 over `id.timestamp.body`, with the raw bytes of the body. It is computed by `hmac` and
//! `sha2`, and compared in constant time. The crate `standardwebhooks` accepts an empty secret and overflows on extreme
//! timestamps, so only the tests use it, as an independent sender.
//! Source: the Standard Webhooks specification, version 1.0.0, "Verifying webhook authenticity".

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

/// Limits how far the time of a message may be before or after the local clock, in seconds.
const TOLERANCE_SECONDS: u64 = 5 * 60;
/// Says how few bytes a decoded secret may have: the specification's 192 bits.
const SECRET_BYTES_MIN: usize = 24;
/// Limits the bytes of a decoded secret: the specification's 512 bits.
const SECRET_BYTES_MAX: usize = 64;
/// Limits the signatures of one message that are checked. A sender that replaces its secret sends two or three.
const SIGNATURES_MAX: usize = 16;

const PREFIX: &str = "whsec_";

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
pub struct WebhookSecret {
    keyed: Hmac<Sha256>,
}

impl WebhookSecret {
    /// Reads a secret: 24 to 64 bytes in Base64 (padded or not), with or without the prefix `whsec_`.
    ///
    /// White space around it is ignored.
    ///
    /// # Errors
    /// The text is no secret. The error has no part of the text.
    pub fn parse(text: &str) -> Result<Self, WebhookSecretError> {
        let text = text.trim();
        let key = STANDARD_PAD_INDIFFERENT
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .map_err(|_| WebhookSecretError::NotBase64)?;
        if key.len() < SECRET_BYTES_MIN {
            return Err(WebhookSecretError::TooShort { bytes: key.len() });
        }
        if key.len() > SECRET_BYTES_MAX {
            return Err(WebhookSecretError::TooLong { bytes: key.len() });
        }
        // HMAC takes keys of any length, so this error never occurs.
        let keyed = Hmac::new_from_slice(&key).map_err(|_| WebhookSecretError::TooLong { bytes: key.len() })?;
        Ok(Self { keyed })
    }

    fn accepts(&self, id: &[u8], timestamp: &[u8], body: &[u8], signatures: &[Vec<u8>]) -> bool {
        let mut mac = self.keyed.clone();
        for part in [id, b".", timestamp, b".", body] {
            mac.update(part);
        }
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
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

/// Says why a message is not accepted. Only the log says it; the sender gets no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// One of the three headers is missing, repeated or empty, or the id has a full stop.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// The timestamp isn't a number of seconds.
    #[error("the timestamp is no number of seconds")]
    Timestamp,
    /// The message was sent more than five minutes ago.
    #[error("the timestamp is too old")]
    TooOld,
    /// The message was sent more than five minutes in the future.
    #[error("the timestamp is too far ahead")]
    TooNew,
    /// No signature fits any secret.
    #[error("no signature fits a known secret")]
    Mismatch,
}

impl WebhookAuth {
    /// Checks the signature of the raw `body`. `now` is in seconds since 1970 (UTC).
    pub(super) fn verify(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), SignatureError> {
        let secrets = match self {
            Self::Unsigned => return Ok(()),
            Self::Signed(secrets) => secrets,
        };
        let id = only(headers, "webhook-id")?;
        // With a full stop in the id, one signed text could be cut into id, timestamp and body in several ways.
        if id.contains(&b'.') {
            return Err(SignatureError::Header("webhook-id"));
        }
        let timestamp = only(headers, "webhook-timestamp")?;
        check_age(timestamp, now)?;
        let signatures: Vec<Vec<u8>> = only(headers, "webhook-signature")?
            .split(|byte| *byte == b' ')
            .filter_map(|entry| entry.strip_prefix(b"v1,"))
            .take(SIGNATURES_MAX)
            .filter_map(|base64| STANDARD.decode(base64).ok())
            .collect();
        if secrets.iter().any(|secret| secret.accepts(id, timestamp, body, &signatures)) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}

/// Returns the value of a header that must be there exactly once, and must not be empty.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a [u8], SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value.as_bytes()),
        _ => Err(SignatureError::Header(name)),
    }
}

fn check_age(timestamp: &[u8], now: i64) -> Result<(), SignatureError> {
    // `parse` alone would accept a sign, too.
    if !timestamp.iter().all(u8::is_ascii_digit) {
        return Err(SignatureError::Timestamp);
    }
    let sent: i64 =
        str::from_utf8(timestamp).ok().and_then(|digits| digits.parse().ok()).ok_or(SignatureError::Timestamp)?;
    if sent.abs_diff(now) <= TOLERANCE_SECONDS {
        Ok(())
    } else if sent < now {
        Err(SignatureError::TooOld)
    } else {
        Err(SignatureError::TooNew)
    }
}

#[cfg(test)]
mod tests;

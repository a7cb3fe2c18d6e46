//! Checks the signatures of payment events, before anything else reads them.
//!
//! | sender | headers | the signed bytes | signature | secret |
//! |---|---|---|---|---|
//! | [`standard`]: Standard Webhooks 1.0 | `webhook-id`, `webhook-timestamp`, `webhook-signature` | `id.timestamp.body` | Base64 | Base64 |
//! | [`stripe`] | `Stripe-Signature` | `timestamp.body` | hexadecimal | the text itself |
//!
//! What both have in common is here: HMAC-SHA256 over the raw bytes of the body, several secrets while one is being
//! replaced, several signatures in one message, and five minutes either way for the time of the message. Signatures are
//! computed by `hmac` and `sha2`, and compared in constant time.

pub(super) mod standard;
pub(super) mod stripe;

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

/// Limits how far the time of a message may be before or after the local clock, in seconds.
const TOLERANCE_SECONDS: u64 = 5 * 60;
/// Limits the signatures of one message that are checked. A sender that replaces its secret sends two or three.
const SIGNATURES_MAX: usize = 16;

/// Holds a secret as a key of HMAC-SHA256. It can't be printed.
#[derive(Clone)]
struct Key(Hmac<Sha256>);

impl Key {
    /// Makes a key of these bytes. HMAC takes any number of them, so there is always a key.
    fn new(secret: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    fn fits_any(&self, signed: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
        let mut mac = self.0.clone();
        for part in signed {
            mac.update(part);
        }
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("hidden")
    }
}

/// Says why a message is not accepted. Only the log says it; the sender gets no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// A header is missing, repeated or empty, or its text isn't what it must be.
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

impl SignatureError {
    /// Returns the name of the cause in the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::Timestamp => "timestamp",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::Mismatch => "mismatch",
        }
    }
}

/// Accepts a message where one of its signatures over the parts of `signed` fits one of the keys.
fn check_signatures<'a>(
    mut keys: impl Iterator<Item = &'a Key>,
    signed: &[&[u8]],
    signatures: impl Iterator<Item = Vec<u8>>,
) -> Result<(), SignatureError> {
    let signatures: Vec<Vec<u8>> = signatures.take(SIGNATURES_MAX).collect();
    if keys.any(|key| key.fits_any(signed, &signatures)) { Ok(()) } else { Err(SignatureError::Mismatch) }
}

/// Returns the value of a header that may be there once. `None`: it isn't there.
fn at_most_once<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h [u8]>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        (_, Some(_)) => Err(SignatureError::Header(name)),
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

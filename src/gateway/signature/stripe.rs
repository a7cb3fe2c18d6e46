//! Stripe's signatures: the header `Stripe-Signature`.
//!
//! `t=1492774577,v1=5257a8…,v1=…`: `t` is when the event was sent, in seconds since 1970 (UTC), once and in decimal
//! digits only. Each `v1` is a signature in hexadecimal digits. There are several while Stripe replaces a secret. Parts
//! with other names, such as `v0`, are skipped. The signature is over `timestamp.body`, with the text of the secret as
//! the key: its prefix `whsec_` belongs to it, and it isn't decoded.
//!
//! Stripe's own libraries don't look whether the time is ahead. Here five minutes are the limit either way. The crate
//! `async-stripe-webhook` would bring types for all objects of Stripe's API, and is a release candidate.
//! Source: Stripe's documentation, "Verify webhook signatures manually".

use std::fmt;

use http::HeaderMap;

use super::{Key, SignatureError, at_most_once, check_age, check_signatures};

/// Says how few bytes a secret may have. Stripe's have at least 38.
const SECRET_BYTES_MIN: usize = 16;
/// Limits the bytes of a secret.
const SECRET_BYTES_MAX: usize = 255;

const HEADER: &str = "stripe-signature";

/// Holds the secret of an endpoint at Stripe. It can't be printed.
#[derive(Clone)]
pub struct StripeSecret(Key);

impl StripeSecret {
    /// Takes a secret as it stands: 16 to 255 visible ASCII characters. White space around it is ignored.
    ///
    /// # Errors
    /// The text is no secret. The error has no part of the text.
    pub fn parse(text: &str) -> Result<Self, StripeSecretError> {
        let bytes = text.trim().as_bytes();
        let has_length = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len());
        if !has_length || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(StripeSecretError);
        }
        Key::new(bytes).map(Self).ok_or(StripeSecretError)
    }
}

impl fmt::Debug for StripeSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StripeSecret(hidden)")
    }
}

/// Says that a text is no secret of Stripe's, without any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Stripe secret must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} visible ASCII characters, like whsec_…")]
pub struct StripeSecretError;

/// Checks the signature of the raw `body`. `now` is in seconds since 1970 (UTC).
pub(in crate::gateway) fn verify(
    secrets: &[StripeSecret],
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<(), SignatureError> {
    const MALFORMED: SignatureError = SignatureError::Header(HEADER);
    let header = at_most_once(headers, HEADER)?.ok_or(MALFORMED)?;
    let values = |name: &'static [u8]| {
        header.split(|byte| *byte == b',').filter_map(move |part| part.strip_prefix(name)?.strip_prefix(b"="))
    };
    let mut timestamps = values(b"t");
    let (Some(timestamp), None) = (timestamps.next(), timestamps.next()) else {
        return Err(MALFORMED);
    };
    check_age(timestamp, now)?;
    let signatures = values(b"v1").filter_map(|digits| base16ct::lower::decode_vec(digits).ok());
    check_signatures(secrets.iter().map(|secret| &secret.0), &[timestamp, b".", body], signatures)
}

#[cfg(test)]
mod tests;

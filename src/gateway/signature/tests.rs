//! What the tests of both schemes share.

use super::SignatureError;

/// Says when the messages of the tests arrive, in seconds since 1970.
pub(super) const NOW: i64 = 1_737_981_120;

/// Lists times at which a well-signed message was sent, and what becomes of it at [`NOW`].
pub(super) const SENT_AT: [(i64, Result<(), SignatureError>); 7] = [
    (NOW, Ok(())),
    (NOW - 300, Ok(())),
    (NOW - 301, Err(SignatureError::TooOld)),
    (NOW + 300, Ok(())),
    (NOW + 301, Err(SignatureError::TooNew)),
    (0, Err(SignatureError::TooOld)),
    (i64::MAX, Err(SignatureError::TooNew)),
];

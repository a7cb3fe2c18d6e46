//! Reads the body of a request, within a limit of size and a limit of time.
//!
//! A connection that is closed while the peer still sends is reset, and the answer may be lost. So an unwanted body is
//! read for a while and dropped before the answer is sent.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, header::EXPECT};
use tokio::time::timeout;

/// Limits the bytes that a body may have.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Limits how long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Limits the bytes of an unwanted body that are read before the answer.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
/// Says how long an unwanted body is read before the answer.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Says why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It has more than [`BODY_BYTES_MAX`] bytes, announced or not.
    TooLarge,
    /// It did not arrive within ten seconds.
    TooSlow,
    /// It broke off, or its framing is wrong.
    Broken,
}

/// Reads a whole body of at most 64 KiB.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, BodyError> {
    timeout(BODY_TIME_MAX, collect(headers, body)).await.unwrap_or(Err(BodyError::TooSlow))
}

/// Reads an unwanted body and drops it.
pub(super) async fn discard(headers: &HeaderMap, mut body: Body) {
    // The peer waits for permission to send. The answer tells it not to.
    if headers.contains_key(EXPECT) {
        return;
    }
    let reading = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(chunk)) = next_chunk(&mut body).await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // The answer is sent, whether the whole body was read or not.
    let _ = timeout(DISCARD_TIME_MAX, reading).await;
}

async fn collect(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, BodyError> {
    let announced = body.size_hint().lower();
    if announced > BODY_BYTES_MAX as u64 {
        discard(headers, body).await;
        return Err(BodyError::TooLarge);
    }
    let mut collected = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if collected.len() + chunk.len() > BODY_BYTES_MAX {
            discard(&HeaderMap::new(), body).await;
            return Err(BodyError::TooLarge);
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(collected)
}

/// Returns the next bytes, or `None` at the end. Trailers are skipped.
async fn next_chunk(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await? {
            Err(error) => return Some(Err(error)),
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
        }
    }
}

//! Reading a request's body: bounded in size and in time.
//!
//! A connection that is closed while the peer still sends is reset, and the answer may be lost with it. So a body that
//! isn't wanted is read on for a while and thrown away before the answer goes out.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, header::EXPECT};
use tokio::time::timeout;

/// Bytes of a body that is accepted.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// How many bytes of an unwanted body are read, and for how long, before it is answered.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Over [`BODY_BYTES_MAX`], announced or not.
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

/// Reads a body that nobody wants.
pub(super) async fn discard(headers: &HeaderMap, mut body: Body) {
    // The peer waits for leave to send: the answer itself is the refusal.
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
    // Time is up: the answer goes out all the same.
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

/// The next bytes, or `None` at the end. Trailers are skipped.
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

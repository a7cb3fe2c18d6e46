//! Gives up a peer that doesn't read, and counts what a peer has sent.
//!
//! A connection takes one of the places of its listener. A peer that sends and never reads would keep it for ever: the
//! answers fill the buffers of both systems, and the write of the next one never ends.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Limits how long a peer may take to read what has been written, when its buffers are full.
pub(super) const WRITE_TIME_MAX: Duration = Duration::from_secs(75);

/// Wraps a connection. A write that takes longer than its limit is an error.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    heard: Arc<AtomicUsize>,
    write_time_max: Duration,
    /// Runs while a write waits.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Wraps a connection. The bytes that its peer sends are added to `heard`.
    pub(super) fn new(stream: S, heard: Arc<AtomicUsize>, write_time_max: Duration) -> Self {
        Self { stream, heard, write_time_max, limit: None }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.limit = None;
            return written;
        }
        let time_max = self.write_time_max;
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(time_max)));
        limit.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (stream, _peer) = duplex(16);
        let mut connection = Patient::new(stream, Arc::default(), SHORT);
        connection.write_all(&[1; 16]).await.unwrap();
        assert_eq!(connection.write_all(&[1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_reads_now_and_then_is_not_given_up_and_its_bytes_are_counted() {
        let (stream, mut peer) = duplex(16);
        let heard = Arc::<AtomicUsize>::default();
        let mut connection = Patient::new(stream, Arc::clone(&heard), 50 * SHORT);
        peer.write_all(b"PRI * HTTP/2.0").await.unwrap();
        connection.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(heard.load(Ordering::Relaxed), 10);
        let writing = tokio::spawn(async move { connection.write_all(&[1; 1000]).await });
        let mut read = vec![0; 1000];
        peer.read_exact(&mut read).await.unwrap();
        writing.await.unwrap().unwrap();
    }
}

//! Ends a connection without a reset.
//!
//! A socket that is closed with unread bytes, or that gets bytes afterwards, answers with a reset. The peer's system then
//! throws away what it had received and nobody had read: answers of calls that are committed. HTTP/2 peers send all the
//! time, if only to say how much they have read. So the end has two steps: this side says that it has written all, and
//! reads on until the other side has ended as well.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Limits how long a peer may take to end its side.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Says how many bytes are read and thrown away at a time.
const THROWN_AWAY_AT_ONCE: usize = 4096;

/// Wraps a connection. Its shutdown ends the writing, and then reads until the peer ends, for 2 s at most.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    /// Runs once the writing has ended.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, limit: None }
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Is ready once the peer has ended, or is gone.
    fn poll_end_of_peer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [0; THROWN_AWAY_AT_ONCE];
            let mut bytes = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes)) {
                Ok(()) if bytes.filled().is_empty() => return Poll::Ready(()),
                Ok(()) => {}
                Err(_gone) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(limit) = &mut self.limit else {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.limit = Some(Box::pin(sleep(LINGER_MAX)));
            return self.poll_shutdown(cx);
        };
        // A peer that sends without a pause uses up all turns of this task, and a timer says nothing without a turn.
        if limit.deadline() <= Instant::now() || limit.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.poll_end_of_peer(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (Lingering<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Lingering::new(listener.accept().await.unwrap().0), peer)
    }

    /// The peer sends all the time, and reads only after the connection has been closed.
    #[tokio::test]
    async fn a_peer_that_still_sends_gets_the_last_answer() {
        let (mut connection, mut peer) = pair().await;
        peer.write_all(&[1; 100_000]).await.unwrap();
        connection.write_all(b"the last answer").await.unwrap();
        let end = tokio::spawn(async move { connection.shutdown().await });
        peer.write_all(&[1; 100_000]).await.unwrap();
        peer.shutdown().await.unwrap();
        end.await.unwrap().unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "the last answer");
    }

    #[tokio::test]
    async fn a_peer_that_never_ends_is_left_after_two_seconds() {
        let (mut connection, mut peer) = pair().await;
        let begun = Instant::now();
        let end = tokio::spawn(async move { connection.shutdown().await });
        let sends = async { while peer.write_all(&[1; 100_000]).await.is_ok() {} };
        sends.await;
        end.await.unwrap().unwrap();
        assert!(begun.elapsed() >= LINGER_MAX, "{:?}", begun.elapsed());
        assert!(begun.elapsed() < 5 * LINGER_MAX, "{:?}", begun.elapsed());
    }

    /// Always has bytes to read, like a peer that sends faster than they are thrown away.
    struct Flood;

    impl AsyncRead for Flood {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let turn = ready!(tokio::task::coop::poll_proceed(cx));
            turn.made_progress();
            buf.initialize_unfilled();
            buf.advance(buf.remaining());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Flood {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_peer_that_sends_without_a_pause_is_left_after_two_seconds() {
        let begun = Instant::now();
        let mut connection = Lingering::new(Flood);
        let end = tokio::spawn(async move { connection.shutdown().await });
        tokio::time::timeout(10 * LINGER_MAX, end).await.expect("an end").unwrap().unwrap();
        assert!(begun.elapsed() >= LINGER_MAX, "{:?}", begun.elapsed());
    }
}

//! Writes answers together that come together.
//!
//! A batch of a lane answers a hundred callers at once. Each of them encodes its answer and wakes its connection. The
//! connection would then run at once and write that one answer: one packet and one system call for each answer, on both
//! sides. So before each write a connection lets all tasks that are ready run first, once. Where none is ready, this
//! takes microseconds.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Wraps a connection. Where it is corked, each write waits once for the tasks that are ready.
#[derive(Debug)]
pub(super) struct Corked<S> {
    stream: S,
    corks: bool,
    /// Whether the next write has waited already.
    has_waited: bool,
}

impl<S> Corked<S> {
    /// Wraps a connection. It is left as it is unless it `corks`.
    pub(super) fn new(stream: S, corks: bool) -> Self {
        Self { stream, corks, has_waited: false }
    }

    /// Is ready when it is time to write. The task wakes itself, so it runs again after all tasks that are ready now.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.has_waited || !self.corks {
            return Poll::Ready(());
        }
        self.has_waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn written<T>(&mut self, written: Poll<T>) -> Poll<T> {
        self.has_waited &= written.is_pending();
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(written)
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
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::{io::AsyncWriteExt, sync::mpsc};

    use super::*;

    /// Counts the writes of a connection. Each write takes all bytes.
    #[derive(Default)]
    struct Writes(usize);

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0 += 1;
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Runs on the same kind of runtime as a server: a task that is woken by another runs before tasks that were ready.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_answers_of_a_batch_are_written_together() {
        let (sender, mut answers) = mpsc::unbounded_channel();
        let connection = async move {
            for byte in 0..100 {
                let sender = sender.clone();
                tokio::spawn(async move { sender.send(byte).unwrap() });
            }
            // An HTTP/2 connection does the same: an answer wakes it, and it writes all answers that are there by then.
            let mut connection = Corked::new(Writes::default(), true);
            let (mut unwritten, mut written) = (Vec::new(), 0);
            while written < 100 {
                let write = |cx: &mut Context<'_>| {
                    while let Poll::Ready(Some(byte)) = answers.poll_recv(cx) {
                        unwritten.push(byte);
                    }
                    if unwritten.is_empty() {
                        return Poll::Pending;
                    }
                    Pin::new(&mut connection).poll_write(cx, &unwritten)
                };
                written += poll_fn(write).await.unwrap();
                unwritten.clear();
            }
            connection.stream.0
        };
        assert_eq!(tokio::spawn(connection).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_comes_alone_waits_once() {
        let mut connection = Corked::new(Writes::default(), true);
        let mut write = Box::pin(connection.write_all(b"alone"));
        assert!(write.as_mut().now_or_never().is_none());
        assert!(write.as_mut().now_or_never().is_some());
        drop(write);
        assert_eq!(connection.stream.0, 1);
    }

    #[tokio::test]
    async fn a_connection_that_does_not_cork_writes_at_once() {
        let mut connection = Corked::new(Writes::default(), false);
        assert!(connection.write_all(b"at once").now_or_never().is_some());
        assert_eq!(connection.stream.0, 1);
    }
}

//! The bytes of a connection: how they are written, how long that may take, and how it ends.
//!
//! **Answers that come together are written together.** A batch of a lane answers a hundred callers at once. Each of them
//! encodes its answer and wakes its connection. The connection would then run at once and write that one answer: one
//! packet and one system call for each answer, on both sides. So before each write a connection lets all tasks that are
//! ready run first, once. Where none is ready, this takes microseconds.
//!
//! **A peer that doesn't read is given up.** It would keep its place for ever: the answers fill the buffers of both
//! systems, and the write of the next one never ends. With TLS the end of a write is known only by its flush.
//!
//! **A connection ends without a reset.** A socket that is closed with unread bytes, or that gets bytes afterwards,
//! answers with a reset. The peer's system then throws away what it had received and nobody had read: answers of calls
//! that are committed. HTTP/2 peers send all the time, if only to say how much they have read. So the end has two steps:
//! this side says that it has written all (TLS: close_notify), and reads on until the other side has ended as well.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Limits how long a peer may take to read what has been written, when its buffers are full.
pub(super) const WRITE_TIME_MAX: Duration = Duration::from_secs(75);
/// Limits how long the end may take: what is still to be written, and the peer's own end.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Says how many bytes are read and thrown away at a time.
const THROWN_AWAY_AT_ONCE: usize = 4096;

/// Wraps a connection.
#[derive(Debug)]
pub(super) struct Stream<S> {
    inner: S,
    /// Counts the bytes that the peer has sent.
    heard: Arc<AtomicUsize>,
    /// Whether a write waits for the tasks that are ready.
    corks: bool,
    /// Whether the next write has waited already.
    has_waited: bool,
    /// Runs while a write waits.
    write: Limit,
    /// Runs while a flush waits.
    flush: Limit,
    /// Runs once the end has begun.
    end: Limit,
    /// Whether all is written, and only the peer's end is to come.
    has_shut_down: bool,
}

impl<S> Stream<S> {
    /// Wraps a connection. The bytes that its peer sends are added to `heard`.
    pub(super) fn new(inner: S, heard: Arc<AtomicUsize>, corks: bool) -> Self {
        Self {
            inner,
            heard,
            corks,
            has_waited: false,
            write: Limit::of(WRITE_TIME_MAX),
            flush: Limit::of(WRITE_TIME_MAX),
            end: Limit::of(LINGER_MAX),
            has_shut_down: false,
        }
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

    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.has_waited &= written.is_pending();
        self.write.bound(cx, written)
    }
}

impl<S: AsyncRead + Unpin> Stream<S> {
    /// Is ready once the peer has ended, or is gone.
    fn poll_end_of_peer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut bytes = [0; THROWN_AWAY_AT_ONCE];
            let mut bytes = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut bytes)) {
                Ok(()) if bytes.filled().is_empty() => return Poll::Ready(()),
                Ok(()) => {}
                Err(_gone) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.heard.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.flush.bound(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A peer that sends without a pause uses up all turns of this task. So the limit is looked at before each turn.
        if self.end.is_over(cx) {
            return Poll::Ready(Ok(()));
        }
        if !self.has_shut_down {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.has_shut_down = true;
        }
        self.poll_end_of_peer(cx).map(Ok)
    }
}

/// Limits the time of something that waits.
#[derive(Debug)]
struct Limit {
    time_max: Duration,
    runs: Option<Pin<Box<Sleep>>>,
}

impl Limit {
    const fn of(time_max: Duration) -> Self {
        Self { time_max, runs: None }
    }

    /// Turns what waits for too long into an error.
    fn bound<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.runs = None;
            return done;
        }
        if self.is_over(cx) { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
    }

    /// Whether the time is over, which began at the first such question.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let time_max = self.time_max;
        let limit = self.runs.get_or_insert_with(|| Box::pin(sleep(time_max)));
        // A timer says nothing to a task that has used up its turns.
        limit.deadline() <= Instant::now() || limit.as_mut().poll(cx).is_ready()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        net::{TcpListener, TcpStream},
        sync::mpsc,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// Wraps a connection whose peer may take `write_time_max` to read.
    fn patient<S>(inner: S, write_time_max: Duration) -> Stream<S> {
        let stream = Stream::new(inner, Arc::default(), false);
        Stream { write: Limit::of(write_time_max), flush: Limit::of(write_time_max), ..stream }
    }

    /// Counts the writes of a connection. Each write takes all bytes.
    #[derive(Default)]
    struct Writes(usize);

    impl AsyncRead for Writes {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

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
            let mut connection = Stream::new(Writes::default(), Arc::default(), true);
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
            connection.inner.0
        };
        assert_eq!(tokio::spawn(connection).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_comes_alone_waits_once() {
        let mut connection = Stream::new(Writes::default(), Arc::default(), true);
        let mut write = Box::pin(connection.write_all(b"alone"));
        assert!(write.as_mut().now_or_never().is_none());
        assert!(write.as_mut().now_or_never().is_some());
        drop(write);
        assert_eq!(connection.inner.0, 1);
    }

    #[tokio::test]
    async fn a_connection_that_does_not_cork_writes_at_once() {
        let mut connection = Stream::new(Writes::default(), Arc::default(), false);
        assert!(connection.write_all(b"at once").now_or_never().is_some());
        assert_eq!(connection.inner.0, 1);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (stream, _peer) = duplex(16);
        let mut connection = patient(stream, SHORT);
        connection.write_all(&[1; 16]).await.unwrap();
        assert_eq!(connection.write_all(&[1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_reads_now_and_then_is_not_given_up_and_its_bytes_are_counted() {
        let (stream, mut peer) = duplex(16);
        let mut connection = patient(stream, 50 * SHORT);
        let heard = Arc::clone(&connection.heard);
        peer.write_all(b"PRI * HTTP/2.0").await.unwrap();
        connection.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(heard.load(Ordering::Relaxed), 10);
        let writing = tokio::spawn(async move { connection.write_all(&[1; 1000]).await });
        let mut read = vec![0; 1000];
        peer.read_exact(&mut read).await.unwrap();
        writing.await.unwrap().unwrap();
    }

    /// Takes all bytes and never brings them out, like TLS whose peer doesn't read.
    struct Stuck;

    impl AsyncRead for Stuck {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn what_is_never_brought_out_is_given_up_and_its_end_takes_two_seconds() {
        let mut connection = patient(Stuck, SHORT);
        connection.write_all(b"answer").await.unwrap();
        assert_eq!(connection.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let begun = Instant::now();
        connection.shutdown().await.unwrap();
        assert!(begun.elapsed() >= LINGER_MAX && begun.elapsed() < 5 * LINGER_MAX, "{:?}", begun.elapsed());
    }

    async fn pair() -> (Stream<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (patient(listener.accept().await.unwrap().0, WRITE_TIME_MAX), peer)
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
        let mut connection = patient(Flood, WRITE_TIME_MAX);
        let end = tokio::spawn(async move { connection.shutdown().await });
        tokio::time::timeout(10 * LINGER_MAX, end).await.expect("an end").unwrap().unwrap();
        assert!(begun.elapsed() >= LINGER_MAX, "{:?}", begun.elapsed());
    }
}

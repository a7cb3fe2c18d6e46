//! What the peer of a connection keeps: answers that it doesn't read, and streams.
//!
//! A write of the system waits only where its buffers are full. In HTTP/2 a peer can also refuse to take single answers,
//! by its window, while it reads all else. Each such answer stays in memory, and nothing waits for it that could give up.
//! So answers are counted by the quarter of the limit in which they were made, and a connection with an answer that is
//! too old is cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{peer::Peer, stream::WRITE_TIME_MAX};

/// Limits the streams of a connection that last as long as their caller likes.
const STREAMS_MAX: usize = 64;
/// Says into how many periods the time is cut that a peer may take to read an answer.
const PERIODS: u32 = 3;
/// Is the length of a period. An answer that isn't read is given up after 75 to 100 s.
pub(super) const PERIOD: Duration = Duration::from_secs(WRITE_TIME_MAX.as_secs() / PERIODS as u64);

/// Counts what a peer keeps.
#[derive(Debug, Default)]
pub(crate) struct Keeps {
    told_to_go: CancellationToken,
    /// Periods that have passed since the connection was told to go.
    periods_gone: AtomicUsize,
    streams: AtomicUsize,
    period: AtomicUsize,
    /// Answers that are not read, by the period in which they were made. The last place is that of the next period.
    answers: [AtomicUsize; PERIODS as usize + 1],
}

impl Keeps {
    /// Tells streams that the connection is to go.
    pub(super) fn tell_to_go(&self) {
        self.told_to_go.cancel();
    }

    /// Begins the next period, and tells whether the peer has to be given up.
    fn pass_period(&self) -> bool {
        let next = self.period.load(Ordering::Relaxed) + 1;
        self.period.store(next, Ordering::Relaxed);
        let oldest = &self.answers[next % self.answers.len()];
        if oldest.load(Ordering::Relaxed) > 0 {
            return true;
        }
        if !self.told_to_go.is_cancelled() {
            return false;
        }
        // Streams have ended when the connection was told to go, but for those whose peer doesn't read.
        let gone = self.periods_gone.fetch_add(1, Ordering::Relaxed);
        gone >= PERIODS as usize && self.streams.load(Ordering::Relaxed) > 0
    }
}

/// Waits until a peer has to be given up, which is looked at after each period.
pub(super) async fn given_up(keeps: &Keeps, period: Duration) {
    loop {
        sleep(period).await;
        if keeps.pass_period() {
            return;
        }
    }
}

/// Is an answer that its peer has not read yet.
#[derive(Debug)]
pub struct Unread {
    peer: Arc<Peer>,
    place: usize,
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.peer.keeps.answers[self.place].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Is a stream that lasts as long as its caller likes.
#[derive(Debug)]
pub struct OpenStream(Arc<Peer>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.keeps.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Peer {
    /// Counts an answer until the value is dropped. If that takes more than 75 s, the connection is cut.
    #[must_use]
    pub fn unread(self: &Arc<Self>) -> Unread {
        let place = self.keeps.period.load(Ordering::Relaxed) % self.keeps.answers.len();
        self.keeps.answers[place].fetch_add(1, Ordering::Relaxed);
        Unread { peer: Arc::clone(self), place }
    }

    /// Counts a stream until the value is dropped. `None`: the connection has 64 already.
    pub fn open_stream(self: &Arc<Self>) -> Option<OpenStream> {
        let stream = OpenStream(Arc::clone(self));
        let before = self.keeps.streams.fetch_add(1, Ordering::Relaxed);
        (before < STREAMS_MAX).then_some(stream)
    }

    /// Waits until the connection is told to go.
    pub async fn told_to_go(&self) {
        self.keeps.told_to_go.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Arc<Peer> {
        Arc::new(Peer::new(None))
    }

    #[test]
    fn an_answer_that_nobody_reads_is_given_up_after_75_to_100_seconds() {
        let peer = peer();
        assert_eq!(PERIOD, Duration::from_secs(25));
        let given_up = |peer: &Arc<Peer>| (1..=10).find(|_| peer.keeps.pass_period());
        assert_eq!(given_up(&peer), None);
        let unread = peer.unread();
        assert_eq!(given_up(&peer), Some(4), "in the fourth period, which begins after 75 s at least");
        drop(unread);
        assert_eq!(given_up(&peer), None);
    }

    #[test]
    fn a_peer_that_reads_is_not_given_up_however_many_answers_it_gets() {
        let peer = peer();
        let mut unread = Vec::new();
        for _ in 0..100 {
            unread.push(peer.unread());
            unread.push(peer.unread());
            assert!(!peer.keeps.pass_period());
            if unread.len() > 4 {
                unread.drain(..2);
            }
        }
    }

    #[tokio::test]
    async fn a_peer_is_looked_at_again_and_again() {
        let peer = peer();
        let unread = peer.unread();
        let given_up = given_up(&peer.keeps, Duration::from_millis(1));
        tokio::time::timeout(Duration::from_secs(10), given_up).await.unwrap();
        drop(unread);
    }

    #[test]
    fn a_connection_has_64_streams() {
        let peer = peer();
        let mut streams: Vec<_> = (0..STREAMS_MAX).map(|_| peer.open_stream().unwrap()).collect();
        assert!(peer.open_stream().is_none() && peer.open_stream().is_none());
        streams.pop();
        assert!(peer.open_stream().is_some());
    }

    #[tokio::test]
    async fn a_stream_that_goes_on_after_its_connection_was_told_to_go_is_given_up() {
        let peer = peer();
        let stream = peer.open_stream();
        assert!((0..10).all(|_| !peer.keeps.pass_period()));
        peer.keeps.tell_to_go();
        peer.told_to_go().await;
        assert_eq!((1..=10).find(|_| peer.keeps.pass_period()), Some(4));
        drop(stream);
        assert!(!peer.keeps.pass_period());
    }
}

//! The spans that wait for the collector, and the thread that sends them.
//!
//! A span is written in the form that is sent as soon as it ends, and only its bytes wait. Nobody waits for the collector:
//! a span that finds the queue full is dropped and counted.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io, mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanProcessor},
};

use super::encode;

/// Limits the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Spans that wait.
    pub(super) queue_max: usize,
    /// Spans that are sent together.
    pub(super) batch_max: usize,
    /// How long spans wait for others, to be sent together.
    pub(super) delay: Duration,
}

/// Holds spans that are sent together, as fields of OTLP's `ScopeSpans`.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: usize,
}

/// Takes the spans that have ended. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct SpanQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    sent: Condvar,
    /// Counts the spans that wait.
    spans: AtomicUsize,
    /// Counts the spans that found no room since they were last asked for.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    full: VecDeque<Batch>,
    filling: Batch,
    /// Whether the thread has taken a batch and still sends it.
    sending: bool,
    /// Whether somebody waits until all are sent.
    hurried: bool,
    ended: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.filling.spans == 0 && !self.sending
    }
}

impl SpanQueue {
    /// Starts the thread, which calls `send` with each batch, and with the number of spans that were dropped before it.
    pub(super) fn start(limits: Limits, send: impl Fn(Batch, u64) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            limits,
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            sent: Condvar::new(),
            spans: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        });
        let threads = Arc::clone(&shared);
        thread::Builder::new().name("spans".to_owned()).spawn(move || threads.send_all(send))?;
        Ok(Self(shared))
    }

    /// Returns the number of spans that were dropped since the last batch.
    pub(super) fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }

    fn wait_until_sent(&self, limit: Duration) -> Result<MutexGuard<'_, Waiting>, OTelSdkError> {
        let until = Instant::now() + limit;
        let mut waiting = self.0.lock();
        waiting.hurried = true;
        self.0.arrived.notify_one();
        while !waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(OTelSdkError::Timeout(limit));
            }
            waiting = self.0.sent.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(waiting)
    }
}

impl Shared {
    /// Locks. No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_all(&self, send: impl Fn(Batch, u64)) {
        let mut last = Instant::now();
        while let Some(batch) = self.next(last) {
            self.spans.fetch_sub(batch.spans, Ordering::Relaxed);
            send(batch, self.dropped.swap(0, Ordering::Relaxed));
            last = Instant::now();
            self.lock().sending = false;
            self.sent.notify_all();
        }
    }

    /// Waits for the next batch: a full one, or what there is once it is time. `None`: the queue has ended.
    fn next(&self, last: Instant) -> Option<Batch> {
        let mut waiting = self.lock();
        loop {
            let left = self.limits.delay.saturating_sub(last.elapsed());
            if let Some(batch) = waiting.full.pop_front() {
                waiting.sending = true;
                return Some(batch);
            }
            if waiting.filling.spans > 0 && (waiting.hurried || left.is_zero()) {
                waiting.sending = true;
                return Some(mem::take(&mut waiting.filling));
            }
            if waiting.ended {
                return None;
            }
            waiting.hurried &= waiting.filling.spans > 0;
            let left = if left.is_zero() { self.limits.delay } else { left };
            waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn push(&self, span: &[u8]) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        self.spans.fetch_add(1, Ordering::Relaxed);
        waiting.filling.bytes.extend_from_slice(span);
        waiting.filling.spans += 1;
        if waiting.filling.spans >= self.limits.batch_max {
            let full = mem::take(&mut waiting.filling);
            waiting.filling.bytes.reserve(full.bytes.len());
            waiting.full.push_back(full);
            drop(waiting);
            self.arrived.notify_one();
        }
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        thread_local! {
            static SCRATCH: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
        }
        if self.0.spans.load(Ordering::Relaxed) >= self.0.limits.queue_max {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // No span ends while another one is written, so the borrow is free.
        SCRATCH.with_borrow_mut(|[message, field]| {
            message.clear();
            field.clear();
            encode::span(message, &span);
            encode::bytes(field, encode::SPANS, message);
            self.0.push(field);
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.wait_until_sent(super::ending::ENDING_MAX).map(drop)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let sent = self.wait_until_sent(timeout).map(drop);
        self.0.lock().ended = true;
        self.0.arrived.notify_one();
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMITS: Limits = Limits { queue_max: 6, batch_max: 2, delay: Duration::from_secs(3600) };

    /// Puts spans of one byte in, as far as there is room.
    fn put(queue: &SpanQueue, spans: u8) {
        for span in 0..spans {
            if queue.0.spans.load(Ordering::Relaxed) < queue.0.limits.queue_max {
                queue.0.push(&[span]);
            }
        }
    }

    #[test]
    fn full_batches_are_sent_at_once_and_the_rest_when_it_is_hurried() {
        let (tell, sent) = mpsc::channel();
        let queue = SpanQueue::start(LIMITS, move |batch, _| tell.send((batch.bytes, batch.spans)).unwrap()).unwrap();
        put(&queue, 2);
        assert_eq!(sent.recv().unwrap(), (vec![0, 1], 2));
        put(&queue, 1);
        assert!(sent.try_recv().is_err(), "one span waits for others");
        queue.force_flush().unwrap();
        assert_eq!(sent.recv().unwrap(), (vec![0], 1));
        put(&queue, 1);
        queue.shutdown_with_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(sent.recv().unwrap(), (vec![0], 1));
        put(&queue, 1);
        assert!(sent.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn a_queue_that_nobody_empties_keeps_its_limit_and_delays_the_end_by_no_more_than_it_may() {
        let (_release, hold) = mpsc::channel::<()>();
        let queue = SpanQueue::start(LIMITS, move |_, _| assert!(hold.recv().is_err())).unwrap();
        put(&queue, 100);
        let waiting = queue.0.lock();
        assert!(waiting.full.len() * 2 + waiting.filling.spans <= 6, "{waiting:?}");
        drop(waiting);
        let began = Instant::now();
        assert!(queue.shutdown_with_timeout(Duration::from_millis(200)).is_err());
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

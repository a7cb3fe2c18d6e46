//! The thread that writes the log, so that no call waits for the log's reader.
//!
//! Lines gather in a buffer and are written together, whole and in order. A line that finds the buffer full is dropped
//! and counted. All lines after it are dropped, too, until the thread takes the buffer. So the gap is in one place, and
//! a line there says how many lines are missing. Lines that can't be written, for example on a full disk, are counted
//! and reported in the same way. A program that nobody calls may wait for room instead, for a limited time. The end of
//! a program waits for the last lines, for a limited time. A program that is killed loses the lines of its last
//! millisecond.
//!
//! The processor time of a line, built and written to a pipe by two threads on 2 cores, is 0.55 µs. It is 2.0 µs where
//! each thread writes at once. `tracing-appender` takes 0.7 to 1.3 µs without loss, but its end waits for only one
//! second, and never comes after a failed write.

use std::{
    cell::Cell,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::metrics;

/// Limits the bytes that may wait: about 55,000 lines.
///
/// The busiest sale measured writes them in the second that a log shipper takes to restart. The thread may hold as many
/// at the same time, so a stalled reader costs at most 16 MiB. The server's peak with 1,024 callers is 35 MiB, and it
/// may use 64 MiB.
pub(super) const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Limits the bytes of a buffer that are kept for the next lines. The rest, after a stall, is given back.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Says how long lines gather after the first of them. So the thread wakes and writes at most 1,000 times a second.
const GATHER: Duration = Duration::from_millis(1);
/// Says when to try again to write to a full pipe that doesn't block.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// Says what happens to a line that finds the buffer full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped at once, because a caller waits for the call that logs.
    Drop,
    /// It waits for room for this time, and is dropped after it. Nobody waits but the program itself.
    Wait(Duration),
}

thread_local! {
    /// Says whether this thread writes a log. Its own lines don't wait behind the lines of others.
    static WRITES_A_LOG: Cell<bool> = const { Cell::new(false) };
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Counts the lines that found no room after those in `bytes`.
    dropped: u64,
    /// Whether the thread has taken lines and still writes them.
    writing: bool,
    /// Whether the program has written its last line.
    ended: bool,
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    written: Condvar,
    when_full: WhenFull,
    /// Takes the lines after the end.
    afterwards: Option<LogThread>,
    /// Holds the lines that the thread itself has logged.
    own: Mutex<Vec<u8>>,
}

/// Hands lines to the thread. Clones share it.
#[derive(Clone)]
pub(super) struct LogThread(Arc<Queue>);

impl LogThread {
    /// Starts a thread that writes to `out` as long as the process lives.
    ///
    /// The thread calls `tell_lost` with the number of lines that were lost, to log it. Lines after the end go to
    /// `afterwards`, or are dropped.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        when_full: WhenFull,
        afterwards: Option<LogThread>,
        tell_lost: impl Fn(&Queue, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            when_full,
            afterwards,
            own: Mutex::default(),
        });
        let threads_queue = Arc::clone(&queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || threads_queue.write_all_to(out, tell_lost))?;
        Ok(Self(queue))
    }

    /// Waits up to `limit` until all earlier lines are written, and ends the log.
    pub(super) fn end(&self, limit: Duration) {
        self.wait_until_written(limit).ended = true;
    }

    fn wait_until_written(&self, limit: Duration) -> MutexGuard<'_, Waiting> {
        let until = Instant::now() + limit;
        let mut waiting = lock(&self.0.waiting);
        while !waiting.bytes.is_empty() || waiting.writing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = wait(&self.0.written, waiting, left);
        }
        waiting
    }
}

/// Locks. No code panics while it holds one of these locks, so the value behind a poisoned lock is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, limit: Duration) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
}

impl Queue {
    fn write_all_to(&self, out: impl Write, tell_lost: impl Fn(&Self, u64)) {
        WRITES_A_LOG.set(true);
        let mut out = Lines { out, torn: false };
        let mut taken = Vec::new();
        let mut lost = 0;
        loop {
            let mut waiting = lock(&self.waiting);
            while waiting.bytes.is_empty() {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            drop(waiting);
            thread::sleep(GATHER);

            let mut waiting = lock(&self.waiting);
            std::mem::swap(&mut waiting.bytes, &mut taken);
            lost += std::mem::take(&mut waiting.dropped);
            waiting.writing = true;
            drop(waiting);
            self.written.notify_all();

            let given_up = out.write(&taken);
            taken.clear();
            taken.shrink_to(KEPT_BYTES_MAX);
            count_dropped(given_up);
            lost += given_up;
            if lost > 0 {
                tell_lost(self, lost);
                // Where this line can't be written either, the next such line counts its lines, too.
                if out.write(&std::mem::take(&mut *lock(&self.own))) == 0 {
                    lost = 0;
                }
            }
            lock(&self.waiting).writing = false;
            self.written.notify_all();
        }
    }

    /// Takes a line unless the buffer is full. Returns whether it took the line.
    fn take(&self, line: &[u8]) -> bool {
        let mut waiting = lock(&self.waiting);
        if let WhenFull::Wait(patience) = self.when_full {
            waiting = self.wait_for_room(waiting, line, patience);
        }
        if waiting.ended {
            drop(waiting);
            return self.afterwards.as_ref().is_none_or(|afterwards| afterwards.0.take(line));
        }
        if waiting.is_full_for(line) {
            waiting.dropped += 1;
            return false;
        }
        let first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        true
    }

    /// Waits until there is room, unless a line was dropped: then the program has waited for the reader already.
    fn wait_for_room<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        line: &[u8],
        patience: Duration,
    ) -> MutexGuard<'a, Waiting> {
        let until = Instant::now() + patience;
        while waiting.is_full_for(line) && waiting.dropped == 0 && !waiting.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = wait(&self.written, waiting, left);
        }
        waiting
    }
}

impl Waiting {
    /// Whether a line has to be dropped. Any line has room in an empty buffer, however long it is.
    fn is_full_for(&self, line: &[u8]) -> bool {
        self.dropped > 0 || (!self.bytes.is_empty() && self.bytes.len() + line.len() > WAITING_BYTES_MAX)
    }
}

fn count_dropped(lines: u64) {
    if lines > 0 {
        metrics::count_dropped_lines(lines);
    }
}

/// Writes whole lines.
struct Lines<W> {
    out: W,
    /// Whether the last line was given up in its middle.
    torn: bool,
}

impl<W: Write> Lines<W> {
    /// Writes as many lines as it can, and returns how many it has given up. Nobody reads them, and the sale goes on.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        // Ends the torn line, so that the next line is whole.
        if self.torn && self.write_some(b"\n") == 1 {
            self.torn = false;
        }
        let written = if self.torn { 0 } else { self.write_some(lines) };
        if written < lines.len() {
            self.torn |= written > 0 && lines[written - 1] != b'\n';
        }
        let given_up = lines[written..].iter().filter(|byte| **byte == b'\n').count();
        u64::try_from(given_up).unwrap_or(u64::MAX)
    }

    /// Writes until an error, and returns the number of bytes written.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while !left.is_empty() {
            match self.out.write(left) {
                Ok(0) => break,
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_AFTER),
                Err(_) => break,
            }
        }
        let _ = self.out.flush();
        bytes.len() - left.len()
    }
}

impl Write for &Queue {
    /// Takes a whole line, or drops and counts it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if WRITES_A_LOG.get() {
            lock(&self.own).extend_from_slice(line);
        } else if !self.take(line) {
            count_dropped(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogThread {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> &'a Queue {
        &self.0
    }
}

#[cfg(test)]
mod tests;

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// Collects what a reader has read.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<Vec<u8>>>);

impl Read {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.0)
    }
}

/// Starts a log whose lost lines are reported as `lost 3`.
fn start(out: impl Write + Send + 'static, when_full: WhenFull) -> LogThread {
    LogThread::start(out, when_full, None, |mut queue, lost| writeln!(queue, "lost {lost}").unwrap()).unwrap()
}

fn log_line(log: &LogThread, line: &[u8]) {
    log.make_writer().write_all(line).unwrap();
}

/// Takes a few bytes at a time, and needs a while for each write.
struct Slow(Read, Duration);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(self.1);
        let some = &bytes[..bytes.len().min(64 * 1024)];
        self.0.bytes().extend_from_slice(some);
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stops at each write until the test lets it continue, and reports each write.
struct Stalled {
    read: Read,
    reached: Sender<()>,
    go_on: Receiver<()>,
}

/// Controls a [`Stalled`] from the test.
struct Reader {
    read: Read,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

fn stalled() -> (Stalled, Reader) {
    let (read, reached, go_on) = (Read::default(), channel(), channel());
    let writer = Stalled { read: read.clone(), reached: reached.0, go_on: go_on.1 };
    (writer, Reader { read, reached: reached.1, go_on: go_on.0 })
}

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.reached.send(());
        // It fails where the test has dropped its end. Then the write may continue.
        let _ = self.go_on.recv();
        self.read.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns lines of 200 bytes with these numbers.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(|number| format!("{number:199}\n").into_bytes()).collect()
}

/// Says how many lines of 200 bytes have room together.
const FITTING: usize = WAITING_BYTES_MAX / 200;

#[test]
fn a_reader_that_stalls_loses_lines_in_one_place_and_is_told_there_how_many() {
    let (writer, reader) = stalled();
    let log = start(writer, WhenFull::Drop);
    log_line(&log, b"first\n");
    reader.reached.recv_timeout(LIMIT).unwrap();
    let started = Instant::now();
    for number in 0..FITTING + 1000 {
        log_line(&log, &numbered(number..number + 1));
        assert!(lock(&log.0.waiting).bytes.len() <= WAITING_BYTES_MAX);
    }
    // A short line after the dropped lines would fit.
    log_line(&log, b"short\n");
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    assert!(reader.read.bytes().is_empty());

    drop(reader.go_on);
    log.end(LIMIT);
    let expected = [b"first\n", &*numbered(0..FITTING), b"lost 1001\n"].concat();
    assert!(*reader.read.bytes() == expected, "{} bytes of {}", reader.read.bytes().len(), expected.len());
}

#[test]
fn after_a_stall_lines_are_taken_again_and_a_second_stall_is_told_on_its_own() {
    let (writer, reader) = stalled();
    let log = start(writer, WhenFull::Drop);
    for lost in [1, 2] {
        log_line(&log, b"begin\n");
        reader.reached.recv_timeout(LIMIT).unwrap();
        for _ in 0..FITTING + lost {
            log_line(&log, &numbered(0..1));
        }
        // The lines taken before, the lines that waited, and the line that says how many are missing.
        for write in 0..3 {
            if write > 0 {
                reader.reached.recv_timeout(LIMIT).unwrap();
            }
            reader.go_on.send(()).unwrap();
        }
        drop(log.wait_until_written(LIMIT));
        let told = format!("\nlost {lost}\n");
        assert!(reader.read.bytes().ends_with(told.as_bytes()), "{lost}");
    }
}

#[test]
fn a_program_that_nobody_calls_waits_for_a_slow_reader_and_loses_nothing() {
    let read = Read::default();
    let log = start(Slow(read.clone(), Duration::from_millis(1)), WhenFull::Wait(LIMIT));
    for number in 0..2 * FITTING {
        log_line(&log, &numbered(number..number + 1));
        assert!(lock(&log.0.waiting).bytes.len() <= WAITING_BYTES_MAX);
    }
    log.end(LIMIT);
    assert!(*read.bytes() == numbered(0..2 * FITTING), "{} bytes", read.bytes().len());
}

#[test]
fn a_program_that_nobody_calls_waits_once_for_a_reader_that_stalls() {
    let (writer, reader) = stalled();
    let patience = Duration::from_millis(200);
    let log = start(writer, WhenFull::Wait(patience));
    log_line(&log, b"first\n");
    reader.reached.recv_timeout(LIMIT).unwrap();
    let started = Instant::now();
    for _ in 0..FITTING + 1000 {
        log_line(&log, &numbered(0..1));
    }
    assert!(started.elapsed() >= patience && started.elapsed() < LIMIT, "{:?}", started.elapsed());
    assert_eq!(lock(&log.0.waiting).dropped, 1000);
    drop(reader.go_on);
    drop(log.wait_until_written(LIMIT));
    assert!(reader.read.bytes().ends_with(b"\nlost 1000\n"));
}

#[test]
fn the_end_waits_for_lines_that_are_being_written() {
    let read = Read::default();
    let log = start(Slow(read.clone(), Duration::from_millis(300)), WhenFull::Drop);
    log_line(&log, b"last words\n");
    // The thread has taken the line, and has not written it.
    while !lock(&log.0.waiting).writing {
        thread::yield_now();
    }
    log.end(LIMIT);
    assert_eq!(*read.bytes(), b"last words\n");
}

#[test]
fn a_reader_who_stopped_reading_delays_the_end_by_no_more_than_the_limit() {
    let (writer, _reader) = stalled();
    let log = start(writer, WhenFull::Wait(LIMIT));
    log_line(&log, b"x\n");
    let started = Instant::now();
    log.end(Duration::from_millis(50));
    log_line(&log, b"y\n");
    assert!((50..5_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[test]
fn what_is_said_after_the_end_is_no_line_of_the_log_and_waits_for_nobody() {
    let (read, (stderr, stderr_reader)) = (Read::default(), stalled());
    let stderr = start(stderr, WhenFull::Drop);
    let slow = Slow(read.clone(), Duration::ZERO);
    let log = LogThread::start(slow, WhenFull::Wait(LIMIT), Some(stderr.clone()), |_, _| {}).unwrap();
    log_line(&log, b"the report\n");
    log.end(LIMIT);
    log_line(&log, b"a line on stderr, as it must be\n");
    stderr_reader.reached.recv_timeout(LIMIT).unwrap();
    assert!(stderr_reader.read.bytes().is_empty());
    drop(stderr_reader.go_on);
    stderr.end(LIMIT);
    assert_eq!(*read.bytes(), b"the report\n");
    assert_eq!(*stderr_reader.read.bytes(), b"a line on stderr, as it must be\n");
}

/// Fails at the second write of `fails`. The first write takes only some of the bytes.
struct Failing {
    kind: ErrorKind,
    takes: usize,
    fails: u32,
    read: Read,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = if self.takes > 0 { self.takes } else { bytes.len() };
        if self.takes == 0 && self.fails > 0 {
            self.fails -= 1;
            return Err(self.kind.into());
        }
        self.takes = 0;
        self.read.bytes().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.kind.into())
    }
}

#[test]
fn a_failed_write_stops_neither_the_program_nor_the_lines_after_it_and_is_told() {
    for (kind, takes, fails, kept) in [
        (ErrorKind::BrokenPipe, 0, 1, &b"lost 1\nsecond\n"[..]),
        (ErrorKind::StorageFull, 0, 1, b"lost 1\nsecond\n"),
        // The line that reports it can't be written either. It comes with the next lines.
        (ErrorKind::StorageFull, 0, 2, b"second\nlost 1\n"),
        // A torn line ends before the next line begins.
        (ErrorKind::StorageFull, 3, 1, b"fir\nlost 1\nsecond\n"),
        (ErrorKind::StorageFull, 3, 2, b"fir\nsecond\nlost 1\n"),
        (ErrorKind::WouldBlock, 3, 1, b"first\nsecond\n"),
        (ErrorKind::Interrupted, 0, 1, b"first\nsecond\n"),
    ] {
        let read = Read::default();
        let log = start(Failing { kind, takes, fails, read: read.clone() }, WhenFull::Drop);
        for line in ["first\n", "second\n"] {
            log_line(&log, line.as_bytes());
            let started = Instant::now();
            drop(log.wait_until_written(LIMIT));
            assert!(started.elapsed() < Duration::from_secs(10), "{kind}");
        }
        assert_eq!(*read.bytes(), kept, "{kind} after {takes} bytes, {fails} times");
    }
}

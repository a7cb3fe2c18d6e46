//! Callers that call one after the other, repeat nothing, and note what became of each call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::support::wait;

/// How long a load may take to make its calls.
const LIMIT: Duration = Duration::from_secs(180);
/// How many different failures are kept.
const FAILURES_KEPT: usize = 20;

/// Runs callers until [`Load::finish`].
pub(super) struct Load {
    counted: Arc<Counted>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Counted {
    ended: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
    slowest: Mutex<Duration>,
    failures: Mutex<BTreeMap<String, usize>>,
}

/// Says what became of the calls of a load.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) slowest: Duration,
    /// The texts of failures, and how often each came.
    pub(super) failures: BTreeMap<String, usize>,
}

impl Load {
    /// Starts a caller for each of these calls. An error is what is told of a failed one.
    pub(super) fn start<C, F>(calls: impl IntoIterator<Item = C>) -> Self
    where
        C: Fn() -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send,
    {
        let counted = Arc::new(Counted::default());
        let mut callers = JoinSet::new();
        for call in calls {
            let counted = Arc::clone(&counted);
            callers.spawn(async move {
                while !counted.ended.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answer = call().await;
                    counted.note(begun.elapsed(), answer);
                }
            });
        }
        Self { counted, callers }
    }

    /// Returns how many calls were answered so far.
    pub(super) fn answered(&self) -> usize {
        self.counted.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls were answered.
    pub(super) async fn wait_for(&self, calls: usize) {
        let enough = self.answered() + calls;
        wait::eventually(LIMIT, "the calls", async || self.answered() >= enough).await;
    }

    /// Waits until at least so many calls were answered in all, ends the callers, and says what became of the calls.
    pub(super) async fn finish(mut self, calls_min: usize) -> Report {
        wait::eventually(LIMIT, "the calls", async || self.answered() >= calls_min).await;
        self.counted.ended.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        Report {
            answered: self.answered(),
            failed: self.counted.failed.load(Ordering::Relaxed),
            slowest: *self.counted.slowest.lock().unwrap(),
            failures: self.counted.failures.lock().unwrap().clone(),
        }
    }
}

impl Counted {
    fn note(&self, time: Duration, answer: Result<(), String>) {
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = time.max(*slowest);
        drop(slowest);
        match answer {
            Ok(()) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let mut failures = self.failures.lock().unwrap();
                if failures.len() < FAILURES_KEPT || failures.contains_key(&failure) {
                    *failures.entry(failure).or_default() += 1;
                }
            }
        }
    }
}

impl Report {
    /// Fails the test if a call failed, or if one took more than 2 s.
    #[track_caller]
    pub(super) fn assert_nothing_lost(&self) {
        eprintln!("{} answered, {} failed, the slowest took {:?}", self.answered, self.failed, self.slowest);
        assert_eq!(self.failed, 0, "{:?}", self.failures);
        assert!(self.slowest <= Duration::from_secs(2), "{self:?}");
    }
}

//! Makes the load.
//!
//! In a closed loop, callers wait for their answer before they call again. In an open loop, calls begin at a fixed
//! rate.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::results::Latency;

/// The longest latency that is recorded; a longer one counts as this.
const LATENCY_MAX: Duration = Duration::from_secs(120);
/// How many calls of an open loop may be under way; a call without room counts as failed.
const UNDER_WAY_MAX: u64 = 20_000;
/// How long the last answers may take after the load has ended.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(60);

/// Says how a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The caller got what it wanted.
    Granted,
    /// The rules of the sale refused the call.
    Refused,
    /// Anything else happened, as this text says.
    Failed(String),
}

/// Makes one kind of call, on its connection.
pub(crate) trait Call: Clone + Send + 'static {
    /// Makes the call.
    fn call(&mut self) -> impl Future<Output = Reply> + Send;
}

/// Says how long a load lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Period {
    /// The time before anything is counted.
    pub(crate) warm_up: Duration,
    /// The time in which answers are counted.
    pub(crate) measured: Duration,
}

/// Holds what callers saw.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Answers within the measured time.
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    /// The latency of these answers, without the failed ones.
    pub(crate) latency: Latency,
    /// The mean latency of the slowest caller over that of the median caller; 1 for an open loop.
    pub(crate) slowest_over_median: f64,
    /// Grants from the first call to the last, with the warm-up: what has to be in the database.
    pub(crate) granted_in_all: u64,
    /// Failed calls from the first call to the last.
    pub(crate) failed_in_all: u64,
    /// The text of the first failed call.
    pub(crate) first_failure: Option<String>,
}

/// Collects what the callers of one connection see.
struct Notes {
    latency: Histogram<u64>,
    granted: u64,
    refused: u64,
    failed: u64,
    granted_in_all: u64,
    failed_in_all: u64,
    first_failure: Option<String>,
}

impl Notes {
    fn new() -> Self {
        let limit = u64::try_from(LATENCY_MAX.as_micros()).unwrap();
        let latency = Histogram::new_with_bounds(1, limit, 3).unwrap();
        Self { latency, granted: 0, refused: 0, failed: 0, granted_in_all: 0, failed_in_all: 0, first_failure: None }
    }

    fn add(&mut self, reply: Reply, took: Duration, counts: bool) {
        self.granted_in_all += u64::from(reply == Reply::Granted);
        if let Reply::Failed(why) = &reply {
            self.failed_in_all += 1;
            self.first_failure.get_or_insert_with(|| why.clone());
        }
        if !counts {
            return;
        }
        match reply {
            Reply::Granted => self.granted += 1,
            Reply::Refused => self.refused += 1,
            Reply::Failed(_) => {
                self.failed += 1;
                return;
            }
        }
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

fn outcome(notes: impl Iterator<Item = Arc<Mutex<Notes>>>, slowest_over_median: f64) -> Outcome {
    let mut all = Notes::new();
    for notes in notes {
        let notes = notes.lock().unwrap();
        all.latency.add(&notes.latency).unwrap();
        all.granted += notes.granted;
        all.refused += notes.refused;
        all.failed += notes.failed;
        all.granted_in_all += notes.granted_in_all;
        all.failed_in_all += notes.failed_in_all;
        all.first_failure = all.first_failure.or_else(|| notes.first_failure.clone());
    }
    let quantile = |quantile| all.latency.value_at_quantile(quantile);
    Outcome {
        granted: all.granted,
        refused: all.refused,
        failed: all.failed,
        latency: Latency {
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: all.latency.max(),
        },
        slowest_over_median,
        granted_in_all: all.granted_in_all,
        failed_in_all: all.failed_in_all,
        first_failure: all.first_failure,
    }
}

/// Runs `clients` callers over `connections`, each of which calls again as soon as it is answered.
pub(crate) async fn closed_loop<C: Call>(connections: &[C], clients: usize, period: Period) -> Outcome {
    let warm = Instant::now() + period.warm_up;
    let end = warm + period.measured;
    let notes: Vec<_> = connections.iter().map(|_| Arc::new(Mutex::new(Notes::new()))).collect();
    let mut callers = JoinSet::new();
    for client in 0..clients {
        let place = client % connections.len();
        let mut call = connections[place].clone();
        let notes = Arc::clone(&notes[place]);
        callers.spawn(async move {
            let (mut calls, mut waited) = (0_u32, Duration::ZERO);
            loop {
                let began = Instant::now();
                if began >= end {
                    break;
                }
                let reply = call.call().await;
                let answered = Instant::now();
                let counts = answered >= warm && answered < end;
                if counts {
                    calls += 1;
                    waited += answered - began;
                }
                notes.lock().unwrap().add(reply, answered - began, counts);
            }
            // A caller without an answer has waited for the whole time.
            if calls == 0 { period.measured } else { waited / calls }
        });
    }
    let mut means: Vec<Duration> = callers.join_all().await;
    means.sort_unstable();
    let ratio = match (means.last(), means.get(means.len() / 2)) {
        (Some(slowest), Some(median)) if !median.is_zero() => slowest.as_secs_f64() / median.as_secs_f64(),
        _ => 1.0,
    };
    outcome(notes.into_iter(), ratio)
}

/// Makes `rate` calls a second, spread over `connections`.
///
/// A latency counts from the moment at which the call was meant to begin. A server that stalls therefore pays for every
/// call that it has delayed.
pub(crate) async fn open_loop<C: Call>(connections: &[C], rate: u64, period: Period) -> Outcome {
    const TICK: Duration = Duration::from_millis(1);
    let start = Instant::now();
    let warm = start + period.warm_up;
    let end = warm + period.measured;
    let notes: Vec<_> = connections.iter().map(|_| Arc::new(Mutex::new(Notes::new()))).collect();
    let under_way = Arc::new(AtomicU64::new(0));
    let interval = Duration::from_secs(1) / u32::try_from(rate).unwrap();
    let mut sent = 0_u32;
    let mut tick = start;
    while tick < end {
        sleep_until(tick).await;
        let now = Instant::now();
        while start + interval * sent <= now {
            let intended = start + interval * sent;
            let place = usize::try_from(sent).unwrap() % connections.len();
            sent += 1;
            let notes = Arc::clone(&notes[place]);
            let counts = intended >= warm && intended < end;
            if under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
                notes.lock().unwrap().add(Reply::Failed("too many calls are under way".to_owned()), TICK, counts);
                continue;
            }
            under_way.fetch_add(1, Ordering::Relaxed);
            let mut call = connections[place].clone();
            let under_way = Arc::clone(&under_way);
            tokio::spawn(async move {
                let reply = call.call().await;
                notes.lock().unwrap().add(reply, intended.elapsed(), counts);
                under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
        tick += TICK;
    }
    let patience = Instant::now() + LAST_ANSWERS_MAX;
    while under_way.load(Ordering::Relaxed) > 0 && Instant::now() < patience {
        sleep_until(Instant::now() + TICK).await;
    }
    outcome(notes.into_iter(), 1.0)
}

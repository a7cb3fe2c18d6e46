//! Lanes with a batch that only counts: what is queued, refused, passed over and answered.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::*;

/// Doubles numbers. A batch waits for a permit, so that tests decide when it runs.
#[derive(Clone, Default)]
struct Doubling {
    gate: Option<Arc<Semaphore>>,
    batches: Arc<Mutex<Vec<Vec<i32>>>>,
    recorded: Arc<AtomicUsize>,
}

const POISON: i32 = -1;
const PANIC: i32 = -2;
/// Needs a row that is busy for ever.
const BUSY: i32 = -3;
/// Needs a row that is busy where it is asked for the first time.
const BUSY_ONCE: i32 = -4;
/// Fails its batch, which could not have its rows.
const CONTENDED: i32 = -5;
/// From here on down, each needs a row of its own that is busy for ever.
const EACH_BUSY: i32 = -10;
const ROW: BusyRow = BusyRow { table: "rows", id: 7 };

impl Batch for Doubling {
    type Command = i32;
    type Answer = i32;

    async fn run(&self, calls: Calls<'_, i32>) -> Result<Outcomes<i32>, Error> {
        let commands = calls.commands();
        self.batches.lock().unwrap().push(commands.to_vec());
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        assert!(!commands.contains(&PANIC), "asked to panic");
        if commands.contains(&POISON) {
            return Err(Error::Internal("poison".to_owned()));
        }
        if commands.contains(&CONTENDED) {
            return Err(Error::LockContention);
        }
        let outcome = |number: &i32| match *number {
            BUSY => Outcome::Busy(ROW),
            BUSY_ONCE if calls.busy().is_none() => Outcome::Busy(ROW),
            number if number <= EACH_BUSY => Outcome::Busy(BusyRow { table: "rows", id: number.into() }),
            number => Outcome::Done(Ok(number * 2)),
        };
        Ok(commands.iter().map(outcome).collect())
    }

    fn record(&self, _command: &i32, _result: &Result<i32, Error>) {
        self.recorded.fetch_add(1, Ordering::SeqCst);
    }
}

const LOCK_PATIENCE: Duration = Duration::from_millis(50);
const LIMITS: Limits = Limits { batch_max: 3, queue_max: 4, lanes_max: 2, in_flight: 2, lock_patience: LOCK_PATIENCE };

/// Lanes whose batches wait, the gate that lets them go, and what they saw.
fn gated() -> (Lanes<Doubling>, Arc<Semaphore>, Doubling) {
    let gate = Arc::new(Semaphore::new(0));
    let doubling = Doubling { gate: Some(Arc::clone(&gate)), ..Doubling::default() };
    (Lanes::new(doubling.clone(), LIMITS, Burst::default()), gate, doubling)
}

/// Starts a call and lets it reach its queue.
async fn started<F>(call: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let handle = tokio::spawn(call);
    tokio::task::yield_now().await;
    handle
}

async fn submitted(lanes: &Lanes<Doubling>, key: i64, number: i32) -> tokio::task::JoinHandle<Result<i32, Error>> {
    let lanes = lanes.clone();
    started(async move { lanes.submit(key, number).await }).await
}

#[tokio::test]
async fn an_idle_lane_runs_one_command_at_once() {
    let doubling = Doubling::default();
    let lanes = Lanes::new(doubling.clone(), LIMITS, Burst::default());
    assert_eq!(lanes.submit(1, 21).await, Ok(42));
    assert_eq!(*doubling.batches.lock().unwrap(), [[21]]);
}

#[tokio::test]
async fn what_waits_together_runs_together_in_order_and_within_the_limit() {
    let (lanes, gate, doubling) = gated();
    let mut calls = vec![submitted(&lanes, 1, 0).await];
    for number in 1..=4 {
        calls.push(submitted(&lanes, 1, number).await);
    }
    gate.add_permits(3);
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), Ok(number as i32 * 2));
    }
    assert_eq!(*doubling.batches.lock().unwrap(), [vec![0], vec![1, 2, 3], vec![4]]);
}

#[tokio::test]
async fn a_full_queue_and_a_further_lane_are_refused_at_once() {
    let (lanes, gate, _) = gated();
    let mut calls = Vec::new();
    for number in 0..5 {
        calls.push(submitted(&lanes, 1, number).await);
    }
    assert!(matches!(lanes.submit(1, 9).await, Err(Error::Overloaded(_))));
    calls.push(submitted(&lanes, 2, 5).await);
    assert!(matches!(lanes.submit(3, 9).await, Err(Error::Overloaded(_))));
    gate.add_permits(10);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_lane_without_work_leaves_nothing_behind() {
    let lanes = Lanes::new(Doubling::default(), LIMITS, Burst::default());
    for key in 0..100 {
        lanes.submit(key, 1).await.unwrap();
    }
    tokio::task::yield_now().await;
    assert!(lanes.shared.state().queues.is_empty());
}

#[tokio::test]
async fn a_command_whose_caller_has_gone_is_passed_over() {
    let (lanes, gate, doubling) = gated();
    let first = submitted(&lanes, 1, 1).await;
    let gone = submitted(&lanes, 1, 2).await;
    let last = submitted(&lanes, 1, 3).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    assert_eq!((first.await.unwrap(), last.await.unwrap()), (Ok(2), Ok(6)));
    assert_eq!(*doubling.batches.lock().unwrap(), [[1], [3]]);
    lanes.close().await;
    assert_eq!(doubling.recorded.load(Ordering::SeqCst), 3, "recorded all the same");
}

#[tokio::test]
async fn a_command_that_was_begun_is_recorded_though_its_caller_has_gone() {
    let (lanes, gate, doubling) = gated();
    let gone = submitted(&lanes, 1, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    lanes.close().await;
    assert_eq!(doubling.recorded.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_poisonous_command_fails_alone() {
    let (lanes, gate, _) = gated();
    gate.add_permits(100);
    let calls = [1, POISON, 3].map(|number| {
        let lanes = lanes.clone();
        tokio::spawn(async move { lanes.submit(1, number).await })
    });
    let [first, poison, last] = calls;
    assert_eq!(first.await.unwrap(), Ok(2));
    assert_eq!(poison.await.unwrap(), Err(Error::Internal("poison".to_owned())));
    assert_eq!(last.await.unwrap(), Ok(6));
}

#[tokio::test]
async fn a_panic_ends_its_lane_only_and_the_next_command_starts_another() {
    let lanes = Lanes::new(Doubling::default(), LIMITS, Burst::default());
    assert!(matches!(lanes.submit(1, PANIC).await, Err(Error::Internal(_))));
    assert_eq!(lanes.submit(1, 2).await, Ok(4));
}

#[tokio::test]
async fn closing_answers_what_was_taken_and_refuses_the_rest() {
    let (lanes, gate, doubling) = gated();
    let taken = submitted(&lanes, 1, 1).await;
    let waiting = submitted(&lanes, 1, 2).await;
    let closing = {
        let lanes = lanes.clone();
        started(async move { lanes.close().await }).await
    };
    assert!(matches!(lanes.submit(1, 3).await, Err(Error::Unavailable(_))));
    gate.add_permits(2);
    closing.await.unwrap();
    assert_eq!((taken.await.unwrap(), waiting.await.unwrap()), (Ok(2), Ok(4)));
    assert_eq!(doubling.recorded.load(Ordering::SeqCst), 3, "two answered and one refused");
}

#[tokio::test]
async fn a_call_that_has_arrived_comes_along_though_the_worker_was_woken_before_it() {
    let doubling = Doubling::default();
    let lanes = Lanes::new(doubling.clone(), LIMITS, Burst::default());
    let mut first = Box::pin(lanes.submit(1, 1));
    assert!(first.as_mut().now_or_never().is_none());
    let second = tokio::spawn({
        let lanes = lanes.clone();
        async move { lanes.submit(1, 2).await }
    });
    assert_eq!((first.await, second.await.unwrap()), (Ok(2), Ok(4)));
    assert_eq!(*doubling.batches.lock().unwrap(), [[1, 2]]);
}

/// A burst that never ended would hold every later answer up.
#[tokio::test]
async fn a_burst_ends_with_its_callers_be_they_answered_or_gone() {
    let burst = Burst::default();
    let lanes = Lanes::new(Doubling::default(), LIMITS, burst.clone());
    lanes.submit(1, 1).await.unwrap();
    assert!(!burst.goes_on());
    let mut gone = Box::pin(lanes.submit(1, 2));
    assert!(gone.as_mut().now_or_never().is_none());
    while !burst.goes_on() {
        tokio::task::yield_now().await;
    }
    drop(gone);
    assert!(!burst.goes_on());
}

#[tokio::test]
async fn a_command_whose_row_is_busy_leaves_its_batch_and_is_run_again_for_itself() {
    let doubling = Doubling::default();
    let limits = Limits { lanes_max: 10, ..LIMITS };
    let lanes = Lanes::new(doubling.clone(), limits, Burst::default());
    let (busy, other) = tokio::join!(lanes.submit(1, BUSY_ONCE), lanes.submit(1, 2));
    assert_eq!((busy, other), (Ok(BUSY_ONCE * 2), Ok(4)));
    assert_eq!(*doubling.batches.lock().unwrap(), [vec![BUSY_ONCE, 2], vec![BUSY_ONCE]]);
    assert_eq!(lanes.shared.state().set_aside, 0);
}

#[tokio::test]
async fn a_command_whose_row_stays_busy_is_told_and_holds_up_no_other() {
    let lanes = Lanes::new(Doubling::default(), Limits { lanes_max: 10, ..LIMITS }, Burst::default());
    let began = Instant::now();
    let busy = submitted(&lanes, 1, BUSY).await;
    assert_eq!(lanes.submit(1, 2).await, Ok(4));
    assert_eq!(busy.await.unwrap(), Err(Error::LockContention));
    assert!(began.elapsed() >= LOCK_PATIENCE, "{:?}", began.elapsed());
    lanes.close().await;
    let state = lanes.shared.state();
    assert_eq!((state.set_aside, state.queues.len()), (0, 0));
}

#[tokio::test]
async fn no_more_commands_wait_for_busy_rows_than_may() {
    let lanes = Lanes::new(Doubling::default(), Limits { lanes_max: 10, ..LIMITS }, Burst::default());
    let mut calls = Vec::new();
    for key in 0..6 {
        calls.push(submitted(&lanes, key, EACH_BUSY - i32::try_from(key).unwrap()).await);
    }
    let mut overloaded = 0;
    for call in calls {
        match call.await.unwrap() {
            Err(Error::LockContention) => {}
            Err(Error::Overloaded(_)) => overloaded += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(overloaded, 6 - LIMITS.queue_max);
}

/// Each would wait as long as the one before it.
#[tokio::test]
async fn calls_that_have_waited_behind_a_contended_batch_are_told_with_it() {
    let gate = Arc::new(Semaphore::new(0));
    let doubling = Doubling { gate: Some(Arc::clone(&gate)), ..Doubling::default() };
    let lanes = Lanes::new(doubling.clone(), Limits { batch_max: 1, ..LIMITS }, Burst::default());
    let began = Instant::now();
    let contended = submitted(&lanes, 1, CONTENDED).await;
    let behind = [submitted(&lanes, 1, 1).await, submitted(&lanes, 1, 2).await];
    while began.elapsed() < LOCK_PATIENCE {
        tokio::task::yield_now().await;
    }
    let late = submitted(&lanes, 1, 3).await;
    gate.add_permits(2);
    assert_eq!(contended.await.unwrap(), Err(Error::LockContention));
    for call in behind {
        assert_eq!(call.await.unwrap(), Err(Error::LockContention));
    }
    assert_eq!(late.await.unwrap(), Ok(6), "it has not waited yet");
    assert_eq!(*doubling.batches.lock().unwrap(), [[CONTENDED], [3]]);
}

#[tokio::test]
async fn a_batch_that_takes_long_gives_its_turn_back() {
    let gate = Arc::new(Semaphore::new(0));
    let doubling = Doubling { gate: Some(Arc::clone(&gate)), ..Doubling::default() };
    let limits = Limits { lanes_max: 10, in_flight: 1, ..LIMITS };
    let lanes = Lanes::new(doubling.clone(), limits, Burst::default());
    let (waiting, other) = (submitted(&lanes, 1, 1).await, submitted(&lanes, 2, 2).await);
    assert_eq!(doubling.batches.lock().unwrap().len(), 1, "there is one turn");
    while doubling.batches.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(2);
    assert_eq!((waiting.await.unwrap(), other.await.unwrap()), (Ok(2), Ok(4)));
}

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

mod shared_out;

/// Doubles numbers. A batch waits for a permit where there is a gate, so that tests decide when it runs.
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
/// Fails its batch, which could not lock its rows.
const CONTENDED: i32 = -5;
/// Each number from here on down needs a row of its own that is busy for ever.
const EACH_BUSY: i32 = -10;
const ROW: BusyRow = BusyRow { table: "rows", id: 7 };

impl Batch for Doubling {
    type Command = i32;
    type Answer = i32;

    const NAME: &'static str = "double";

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

    fn record(&self, _command: &i32, _result: &Result<i32, Error>, _took: Duration) {
        self.recorded.fetch_add(1, Ordering::SeqCst);
    }
}

const LOCK_PATIENCE: Duration = Duration::from_millis(50);
const LIMITS: LaneLimits =
    LaneLimits { batch_max: 3, queue_max: 4, lanes_max: 2, in_flight: 2, lock_patience: LOCK_PATIENCE };

/// Makes lanes whose group is never closed.
fn lanes_of(doubling: Doubling, limits: LaneLimits) -> Lanes<Doubling> {
    LaneGroup::default().lanes(doubling, limits)
}

/// Makes lanes whose batches wait. Returns also the gate that lets them go, and what they saw.
fn gated() -> (Lanes<Doubling>, Arc<Semaphore>, Doubling) {
    gated_of(&mut LaneGroup::default())
}

/// Does the same as [`gated`], in a group.
fn gated_of(group: &mut LaneGroup) -> (Lanes<Doubling>, Arc<Semaphore>, Doubling) {
    let gate = Arc::new(Semaphore::new(0));
    let doubling = Doubling { gate: Some(Arc::clone(&gate)), ..Doubling::default() };
    (group.lanes(doubling.clone(), LIMITS), gate, doubling)
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
    started(async move { lanes.submit(LaneKey::Product(key), number).await }).await
}

#[tokio::test]
async fn an_idle_lane_runs_one_command_at_once() {
    let doubling = Doubling::default();
    let lanes = lanes_of(doubling.clone(), LIMITS);
    assert_eq!(lanes.submit(LaneKey::Product(1), 21).await, Ok(42));
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
    let refused = lanes.submit(LaneKey::Product(1), 9).await;
    assert_eq!(refused, Err(Error::Overloaded("too many requests are queued for this product")));
    calls.push(submitted(&lanes, 2, 5).await);
    let refused = lanes.submit(LaneKey::Product(3), 9).await;
    assert_eq!(refused, Err(Error::Overloaded("requests are queued for too many products")));
    gate.add_permits(10);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_lane_without_work_leaves_nothing_behind() {
    let lanes = lanes_of(Doubling::default(), LIMITS);
    for key in 0..100 {
        lanes.submit(LaneKey::Product(key), 1).await.unwrap();
    }
    tokio::task::yield_now().await;
    assert_eq!(lanes.shared.queues().len(), 0);
}

#[tokio::test]
async fn a_command_whose_caller_has_gone_is_passed_over() {
    let mut group = LaneGroup::default();
    let (lanes, gate, doubling) = gated_of(&mut group);
    let first = submitted(&lanes, 1, 1).await;
    let gone = submitted(&lanes, 1, 2).await;
    let last = submitted(&lanes, 1, 3).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    assert_eq!((first.await.unwrap(), last.await.unwrap()), (Ok(2), Ok(6)));
    assert_eq!(*doubling.batches.lock().unwrap(), [[1], [3]]);
    group.close().await;
    assert_eq!(doubling.recorded.load(Ordering::SeqCst), 3, "recorded all the same");
}

#[tokio::test]
async fn a_command_that_was_begun_is_recorded_though_its_caller_has_gone() {
    let mut group = LaneGroup::default();
    let (lanes, gate, doubling) = gated_of(&mut group);
    let gone = submitted(&lanes, 1, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    group.close().await;
    assert_eq!(doubling.recorded.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_poisonous_command_fails_alone() {
    let (lanes, gate, _) = gated();
    gate.add_permits(100);
    let calls = [1, POISON, 3].map(|number| {
        let lanes = lanes.clone();
        tokio::spawn(async move { lanes.submit(LaneKey::Product(1), number).await })
    });
    let [first, poison, last] = calls;
    assert_eq!(first.await.unwrap(), Ok(2));
    assert_eq!(poison.await.unwrap(), Err(Error::Internal("poison".to_owned())));
    assert_eq!(last.await.unwrap(), Ok(6));
}

#[tokio::test]
async fn a_panic_ends_its_lane_only_and_the_next_command_starts_another() {
    let lanes = lanes_of(Doubling::default(), LIMITS);
    assert!(matches!(lanes.submit(LaneKey::Product(1), PANIC).await, Err(Error::Internal(_))));
    assert_eq!(lanes.submit(LaneKey::Product(1), 2).await, Ok(4));
}

/// A use case whose lanes nobody closed would lose its answers at a shutdown.
#[tokio::test]
async fn a_closed_group_answers_what_its_lanes_took_and_refuses_the_rest() {
    let mut group = LaneGroup::default();
    let (lanes, gate, doubling) = gated_of(&mut group);
    let (others, other_gate, other_doubling) = gated_of(&mut group);
    let in_flight = submitted(&lanes, 1, 1).await;
    let waiting = submitted(&lanes, 1, 2).await;
    let other = submitted(&others, 1, 5).await;
    let mut closing = started(async move { group.close().await }).await;
    for lanes in [&lanes, &others] {
        assert!(matches!(lanes.submit(LaneKey::Product(1), 3).await, Err(Error::Unavailable(_))));
    }
    gate.add_permits(2);
    assert_eq!((in_flight.await.unwrap(), waiting.await.unwrap()), (Ok(2), Ok(4)));
    assert!((&mut closing).now_or_never().is_none(), "the other lanes are at work");
    other_gate.add_permits(1);
    closing.await.unwrap();
    assert_eq!(other.await.unwrap(), Ok(10));
    assert_eq!(doubling.recorded.load(Ordering::SeqCst), 3, "two answered and one refused");
    assert_eq!(other_doubling.recorded.load(Ordering::SeqCst), 2, "one answered and one refused");
}

#[tokio::test]
async fn commands_that_run_one_by_one_fail_one_by_one() {
    struct Halving;
    impl RunOne for Halving {
        type Command = i32;
        type Answer = i32;

        const NAME: &'static str = "halve";

        async fn run_one(&self, command: &i32, _calls: Calls<'_, i32>) -> Result<i32, Error> {
            if command % 2 == 0 { Ok(command / 2) } else { Err(Error::LockContention) }
        }
    }
    let lanes = LaneGroup::default().one_by_one(Halving, LIMITS);
    let (odd, even) = tokio::join!(lanes.submit(LaneKey::Product(1), 3), lanes.submit(LaneKey::Product(1), 4));
    assert_eq!((odd, even), (Err(Error::LockContention), Ok(2)));
}

#[tokio::test]
async fn a_call_that_has_arrived_comes_along_though_the_worker_was_woken_before_it() {
    let doubling = Doubling::default();
    let lanes = lanes_of(doubling.clone(), LIMITS);
    let mut first = Box::pin(lanes.submit(LaneKey::Product(1), 1));
    assert!(first.as_mut().now_or_never().is_none());
    let second = tokio::spawn({
        let lanes = lanes.clone();
        async move { lanes.submit(LaneKey::Product(1), 2).await }
    });
    assert_eq!((first.await, second.await.unwrap()), (Ok(2), Ok(4)));
    assert_eq!(*doubling.batches.lock().unwrap(), [[1, 2]]);
}

#[tokio::test]
async fn a_command_whose_row_is_busy_leaves_its_batch_and_is_run_again_for_itself() {
    let doubling = Doubling::default();
    let limits = LaneLimits { lanes_max: 10, ..LIMITS };
    let lanes = lanes_of(doubling.clone(), limits);
    let (busy, other) =
        tokio::join!(lanes.submit(LaneKey::Product(1), BUSY_ONCE), lanes.submit(LaneKey::Product(1), 2));
    assert_eq!((busy, other), (Ok(BUSY_ONCE * 2), Ok(4)));
    assert_eq!(*doubling.batches.lock().unwrap(), [vec![BUSY_ONCE, 2], vec![BUSY_ONCE]]);
    assert_eq!(lanes.shared.queues().set_aside.taken(), 0);
}

#[tokio::test]
async fn a_command_whose_row_stays_busy_is_told_and_holds_up_no_other() {
    let mut group = LaneGroup::default();
    let lanes = group.lanes(Doubling::default(), LaneLimits { lanes_max: 10, ..LIMITS });
    let began = Instant::now();
    let busy = submitted(&lanes, 1, BUSY).await;
    assert_eq!(lanes.submit(LaneKey::Product(1), 2).await, Ok(4));
    assert_eq!(busy.await.unwrap(), Err(Error::LockContention));
    assert!(began.elapsed() >= LOCK_PATIENCE, "{:?}", began.elapsed());
    group.close().await;
    let queues = lanes.shared.queues();
    assert_eq!((queues.set_aside.taken(), queues.lanes.taken(), queues.len()), (0, 0, 0));
}

#[tokio::test]
async fn no_more_commands_wait_for_busy_rows_than_may() {
    let lanes = lanes_of(Doubling::default(), LaneLimits { lanes_max: 10, ..LIMITS });
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

/// If they were not told, each would wait as long as the call before it.
#[tokio::test]
async fn calls_that_have_waited_behind_a_contended_batch_are_told_with_it() {
    let gate = Arc::new(Semaphore::new(0));
    let doubling = Doubling { gate: Some(Arc::clone(&gate)), ..Doubling::default() };
    let lanes = lanes_of(doubling.clone(), LaneLimits { batch_max: 1, ..LIMITS });
    let contended = submitted(&lanes, 1, CONTENDED).await;
    let behind = [submitted(&lanes, 1, 1).await, submitted(&lanes, 1, 2).await];
    // From here on: a call waits since it was submitted.
    let began = Instant::now();
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
    let limits = LaneLimits { lanes_max: 10, in_flight: 1, ..LIMITS };
    let lanes = lanes_of(doubling.clone(), limits);
    let (waiting, other) = (submitted(&lanes, 1, 1).await, submitted(&lanes, 2, 2).await);
    assert_eq!(doubling.batches.lock().unwrap().len(), 1, "there is one turn");
    while doubling.batches.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(2);
    assert_eq!((waiting.await.unwrap(), other.await.unwrap()), (Ok(2), Ok(4)));
}

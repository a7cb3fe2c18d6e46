//! How the room of lanes is shared out among callers.

use super::*;

fn caller(number: u32) -> Option<CallerId> {
    Some(CallerId::of(&number))
}

/// Queues a command for a caller. `None`: it waits. `Some`: it was refused.
async fn asked(lanes: &Lanes<Doubling>, caller: Option<CallerId>, key: i64, number: i32) -> Option<Error> {
    let lanes = lanes.clone();
    let mut call = Box::pin(async move { lanes.submit(LaneKey::Product(key), number).await });
    let first = shares::on_behalf_of(caller, || call.as_mut().now_or_never());
    // A call that is dropped is passed over, but keeps its place until its batch begins.
    let waits = tokio::spawn(call);
    match first {
        Some(Err(error)) => {
            waits.abort();
            Some(error)
        }
        _ => None,
    }
}

/// A caller who has half of a queue is refused, and others have room.
#[tokio::test]
async fn one_caller_fills_half_of_a_queue_and_two_leave_room_for_others() {
    let doubling = Doubling { gate: Some(Arc::new(Semaphore::new(0))), ..Doubling::default() };
    let limits = LaneLimits { queue_max: 90, batch_max: 1, ..LIMITS };
    let lanes = lanes_of(doubling, limits);
    // One command is at work.
    let at_work = submitted(&lanes, 1, 0).await;
    for _ in 0..45 {
        assert_eq!(asked(&lanes, caller(1), 1, 1).await, None);
    }
    let full = Some(Error::Overloaded(LaneKey::Product(1).queue_is_full()));
    assert_eq!(asked(&lanes, caller(1), 1, 1).await, full);
    for _ in 0..200 {
        asked(&lanes, caller(2), 1, 1).await;
    }
    assert_eq!(asked(&lanes, caller(2), 1, 1).await, full);
    for number in 3..10 {
        assert_eq!(asked(&lanes, caller(number), 1, 1).await, None, "caller {number}");
    }
    at_work.abort();
}

/// A caller who asks for one product after the other doesn't take all lanes.
#[tokio::test]
async fn one_caller_starts_half_of_the_lanes() {
    let doubling = Doubling { gate: Some(Arc::new(Semaphore::new(0))), ..Doubling::default() };
    let lanes = lanes_of(doubling, LaneLimits { lanes_max: 8, ..LIMITS });
    for key in 0..4 {
        assert_eq!(asked(&lanes, caller(1), key, 1).await, None);
    }
    let full = Some(Error::Overloaded(LaneKey::Product(4).lanes_are_full()));
    assert_eq!(asked(&lanes, caller(1), 4, 1).await, full);
    assert_eq!(asked(&lanes, caller(1), 3, 1).await, None, "a lane that is there has room");
    assert_eq!(asked(&lanes, caller(2), 4, 1).await, None);
    assert_eq!(asked(&lanes, caller(1), 4, 1).await, None, "whoever has started it");
}

/// A caller whose commands all need locked rows leaves room for others' commands that do.
#[tokio::test]
async fn one_caller_waits_for_busy_rows_with_half_of_what_may() {
    let lanes = lanes_of(Doubling::default(), LaneLimits { queue_max: 8, lanes_max: 100, ..LIMITS });
    let mut calls = Vec::new();
    for key in 0..8 {
        let lanes = lanes.clone();
        let mut call = Box::pin(async move { lanes.submit(LaneKey::Product(key), BUSY).await });
        assert!(shares::on_behalf_of(caller(1), || call.as_mut().now_or_never()).is_none());
        calls.push(call);
    }
    let answers = futures_util::future::join_all(calls).await;
    let overloaded = answers.iter().filter(|answer| matches!(answer, Err(Error::Overloaded(_)))).count();
    assert_eq!(overloaded, 4, "{answers:?}");
    assert_eq!(lanes.shared.queues().set_aside.taken(), 0);
}

/// What was counted for a caller is given back, however the command leaves its queue.
#[tokio::test]
async fn a_lane_that_ends_leaves_no_share_behind() {
    let mut group = LaneGroup::default();
    let lanes = group.lanes(Doubling::default(), LaneLimits { batch_max: 1, lanes_max: 100, queue_max: 100, ..LIMITS });
    let mut calls = Vec::new();
    for (key, number) in [(1, 1), (1, PANIC), (2, BUSY_ONCE), (3, BUSY), (4, CONTENDED), (5, 5), (5, 6)] {
        let lanes = lanes.clone();
        let mut call = Box::pin(async move { lanes.submit(LaneKey::Product(key), number).await });
        assert!(shares::on_behalf_of(caller(1), || call.as_mut().now_or_never()).is_none());
        calls.push(call);
    }
    calls.truncate(6);
    let _answers = futures_util::future::join_all(calls).await;
    group.close().await;
    let queues = lanes.shared.queues();
    assert!(queues.set_aside.has_none(caller(1)) && queues.lanes.has_none(caller(1)));
    assert_eq!((queues.set_aside.taken(), queues.lanes.taken(), queues.len()), (0, 0, 0));
}

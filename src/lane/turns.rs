//! Turns: how many batches are in flight at the same moment.
//!
//! More batches than processors don't get more done. They only cut the same commands into smaller batches, each with
//! the same cost. So where few lanes are busy, a lane waits for its turn, and its batch is what has queued up by then.
//! Where many lanes are busy, each has little to do and mostly waits for the database. Then the number of turns grows
//! with the number of lanes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// How many busy lanes allow one batch in flight, where that makes more batches than the minimum.
const LANES_PER_TURN: usize = 8;

/// Gives turns to the lanes of a use case.
#[derive(Debug)]
pub(super) struct Turns {
    /// Batches in flight that are always allowed, at least 1.
    at_least: usize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Turns that are given and not yet back.
    running: usize,
    /// Lanes that wait for a turn, in the order in which they came.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// Lets one lane run a batch. Dropping it gives the turn to the next lane.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
}

/// Keeps the turn of a batch at work, which may give it back before the batch ends.
#[derive(Debug)]
pub(super) struct TurnSlot(Mutex<Option<Turn>>);

impl TurnSlot {
    pub(super) fn new(turn: Turn) -> Self {
        Self(Mutex::new(Some(turn)))
    }

    /// Gives the turn back, unless that was done before.
    pub(super) fn leave(&self) {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
    }
}

impl Turns {
    pub(super) fn new(at_least: usize) -> Self {
        Self { at_least: at_least.max(1), line: Mutex::default() }
    }

    /// Waits for a turn.
    pub(super) async fn take(self: &Arc<Self>) -> Turn {
        let (sender, turn) = oneshot::channel();
        self.line().waiting.push_back(sender);
        self.give();
        match turn.await {
            Ok(turn) => turn,
            // No sender is dropped unsent. If one were, there would be one batch more in flight.
            Err(_) => {
                self.line().running += 1;
                Turn { turns: Arc::clone(self) }
            }
        }
    }

    /// Gives all turns that may be given now.
    fn give(self: &Arc<Self>) {
        while let Some(next) = self.next() {
            // If the lane is gone, its turn comes back at once.
            drop(next.send(Turn { turns: Arc::clone(self) }));
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut line = self.line();
        let busy = line.running + line.waiting.len();
        if line.running >= self.at_least.max(busy / LANES_PER_TURN) {
            return None;
        }
        let next = line.waiting.pop_front()?;
        line.running += 1;
        Some(next)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.line().running -= 1;
        self.turns.give();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Takes the turns that need no waiting.
    fn taken_at_once(turns: &Arc<Turns>, count: usize) -> Vec<Turn> {
        (0..count).filter_map(|_| turns.take().now_or_never()).collect()
    }

    #[tokio::test]
    async fn the_minimum_runs_at_once_and_the_next_lane_gets_the_turn_of_the_first_that_ends() {
        let turns = Arc::new(Turns::new(2));
        let mut running = taken_at_once(&turns, 2);
        let mut third = Box::pin(turns.take());
        assert!(third.as_mut().now_or_never().is_none());
        let fourth = Box::pin(turns.take());
        running.pop();
        let third = third.await;
        drop(running);
        drop((third, fourth.await));
        assert_eq!(turns.line().running, 0);
        assert_eq!(taken_at_once(&turns, 2).len(), 2);
    }

    #[tokio::test]
    async fn a_lane_that_is_gone_gives_its_turn_to_the_next() {
        let turns = Arc::new(Turns::new(1));
        let running = taken_at_once(&turns, 1);
        let mut gone = Box::pin(turns.take());
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(turns.take());
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(running);
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test]
    async fn where_many_lanes_are_busy_an_eighth_of_them_runs() {
        let turns = Arc::new(Turns::new(2));
        let mut lanes: Vec<_> = (0..80).map(|_| Box::pin(turns.take())).collect();
        let begun = lanes.iter_mut().filter_map(|lane| lane.as_mut().now_or_never());
        let begun: Vec<Turn> = begun.collect();
        assert_eq!(begun.len(), 2, "the first two had no need to wait");
        assert_eq!(turns.line().running, 10);
    }
}

//! Whose turn it is: how many batches are in flight at the same moment.
//!
//! More batches at once than processors to prepare and answer them don't get more done: the same commands are only cut
//! into smaller batches, each with the same cost. So where few lanes are busy, a lane waits for its turn, and its batch
//! is what has queued up by then. Where many are busy, each has little to do and the database's latency is what they
//! wait for: then their number decides.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Busy lanes for each batch in flight, where that makes more than the minimum.
const LANES_PER_TURN: usize = 8;

/// The turns of a use case's lanes.
#[derive(Debug)]
pub(super) struct Turns {
    /// Batches in flight that are always allowed, at least 1.
    at_least: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// In the order of their coming.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A lane's turn; dropped, it is the next one's.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
}

/// The turn of a batch at work, which it may give back before its end.
#[derive(Debug)]
pub(super) struct TurnSlot(Mutex<Option<Turn>>);

impl TurnSlot {
    pub(super) fn new(turn: Turn) -> Self {
        Self(Mutex::new(Some(turn)))
    }

    /// Gives the turn back, if that was not done before.
    pub(super) fn leave(&self) {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
    }
}

impl Turns {
    pub(super) fn new(at_least: usize) -> Self {
        Self { at_least: at_least.max(1), state: Mutex::default() }
    }

    /// Waits for a turn.
    pub(super) async fn take(self: &Arc<Self>) -> Turn {
        let (sender, turn) = oneshot::channel();
        self.state().waiting.push_back(sender);
        self.give();
        match turn.await {
            Ok(turn) => turn,
            // Nobody drops a sender unsent; without the turn's count the worst is one batch more in flight.
            Err(_) => {
                self.state().running += 1;
                Turn { turns: Arc::clone(self) }
            }
        }
    }

    /// Gives the turns that may be given.
    fn give(self: &Arc<Self>) {
        while let Some(next) = self.next() {
            // One whose lane is gone comes back at once.
            drop(next.send(Turn { turns: Arc::clone(self) }));
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut state = self.state();
        let busy = state.running + state.waiting.len();
        if state.running >= self.at_least.max(busy / LANES_PER_TURN) {
            return None;
        }
        let next = state.waiting.pop_front()?;
        state.running += 1;
        Some(next)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().running -= 1;
        self.turns.give();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Turns that are there at once.
    fn taken(turns: &Arc<Turns>, count: usize) -> Vec<Turn> {
        (0..count).filter_map(|_| turns.take().now_or_never()).collect()
    }

    #[tokio::test]
    async fn so_many_run_at_once_and_the_next_has_the_turn_of_the_first_that_ends() {
        let turns = Arc::new(Turns::new(2));
        let mut running = taken(&turns, 2);
        let mut third = Box::pin(turns.take());
        assert!(third.as_mut().now_or_never().is_none());
        let fourth = Box::pin(turns.take());
        running.pop();
        let third = third.await;
        drop(running);
        drop((third, fourth.await));
        assert_eq!(turns.state().running, 0);
        assert_eq!(taken(&turns, 2).len(), 2);
    }

    #[tokio::test]
    async fn a_lane_that_is_gone_gives_its_turn_to_the_next() {
        let turns = Arc::new(Turns::new(1));
        let running = taken(&turns, 1);
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
        assert_eq!(turns.state().running, 10);
    }
}

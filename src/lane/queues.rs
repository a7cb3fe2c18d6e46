//! What waits in the lanes of a use case, and how its room is shared out among callers.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use super::{Batch, BusyRow, LaneKey, Waiting};
use crate::shares::{CallerId, Tally};

/// Names a queue: what its commands wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum QueueKey {
    /// What callers ask for.
    Asked(LaneKey),
    /// A row that somebody else had locked.
    Busy(BusyRow),
}

/// Keeps the queues of a use case.
pub(super) struct Queues<B: Batch> {
    /// A queue is here exactly as long as the worker of its lane is.
    by_key: HashMap<QueueKey, Queue<B>>,
    /// The lanes, by the callers who started them.
    pub(super) lanes: Tally,
    /// Commands that have left their batch for a locked row and are not answered yet.
    pub(super) set_aside: Tally,
    /// Lanes for locked rows.
    pub(super) busy_rows: usize,
    pub(super) closed: bool,
}

impl<B: Batch> Queues<B> {
    pub(super) fn new() -> Self {
        let (lanes, set_aside) = (Tally::default(), Tally::default());
        Self { by_key: HashMap::new(), lanes, set_aside, busy_rows: 0, closed: false }
    }

    /// Counts the commands that wait.
    pub(super) fn waiting(&self) -> usize {
        self.by_key.values().map(Queue::len).sum()
    }

    pub(super) fn get_mut(&mut self, key: QueueKey) -> Option<&mut Queue<B>> {
        self.by_key.get_mut(&key)
    }

    /// Counts the queues.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn contains(&self, key: QueueKey) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Adds a queue, whose lane `opener` has started and has been counted for.
    pub(super) fn insert(&mut self, key: QueueKey, opener: Option<CallerId>, first: Waiting<B>) {
        let mut queue = Queue::new(opener);
        queue.push(first);
        self.by_key.insert(key, queue);
    }

    pub(super) fn remove(&mut self, key: QueueKey) -> Option<Queue<B>> {
        let queue = self.by_key.remove(&key)?;
        self.lanes.give_back(queue.opener, 1);
        if let QueueKey::Busy(_) = key {
            self.busy_rows -= 1;
        }
        Some(queue)
    }
}

/// Keeps the commands that wait for one lane, in the order of their coming.
pub(super) struct Queue<B: Batch> {
    waiting: VecDeque<Waiting<B>>,
    shares: Tally,
    /// Who has started the lane.
    opener: Option<CallerId>,
}

impl<B: Batch> fmt::Debug for Queue<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<B: Batch> Queue<B> {
    fn new(opener: Option<CallerId>) -> Self {
        Self { waiting: VecDeque::new(), shares: Tally::default(), opener }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a command if its caller may have one more of `max` places; else returns it.
    pub(super) fn try_push(&mut self, waiting: Waiting<B>, max: usize) -> Result<(), Waiting<B>> {
        if !self.shares.try_take(waiting.caller.id, 1, max) {
            return Err(waiting);
        }
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Adds a command whose place was looked for elsewhere.
    pub(super) fn push(&mut self, waiting: Waiting<B>) {
        self.shares.take(waiting.caller.id, 1);
        self.waiting.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting<B>> {
        let waiting = self.waiting.pop_front()?;
        self.shares.give_back(waiting.caller.id, 1);
        Some(waiting)
    }

    /// Takes out those that a rule names, in their order. The others stay.
    pub(super) fn take_if(&mut self, rule: impl Fn(&Waiting<B>) -> bool) -> VecDeque<Waiting<B>> {
        let (taken, left): (VecDeque<_>, VecDeque<_>) = self.waiting.drain(..).partition(rule);
        self.waiting = left;
        for waiting in &taken {
            self.shares.give_back(waiting.caller.id, 1);
        }
        taken
    }

    /// Takes out all.
    pub(super) fn into_waiting(self) -> VecDeque<Waiting<B>> {
        self.waiting
    }
}

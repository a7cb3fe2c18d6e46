//! Lanes: requests that wait at the same moment share a transaction.
//!
//! A hot product is one row, and the database keeps it locked until the commit is on disk. So a lane takes the commands
//! that have queued up for its key, runs them as one batch, answers each caller, and takes what has queued up since. It
//! never waits for a batch to fill: in an idle lane, a batch is one command. A key has at most one batch in flight.
//! Batches of different keys run side by side, as long as that gets more done (`turns`).
//!
//! A command whose row somebody else has locked leaves its batch. It waits in a lane for that row (`worker`), so the
//! commands for other rows don't wait with it. There it holds no connection and no turn. After
//! [`LaneLimits::lock_patience`] its caller gets `LockContention`.
//!
//! A lane lives from the first command for its key until its queue is empty. So an id that nobody asks for, or that
//! doesn't exist, leaves nothing behind. Everything is bounded: commands in a batch, commands that wait, lanes. What
//! waits is shared out among callers ([`crate::shares`]), so that nobody fills a lane alone.
//!
//! Every transaction runs in a lane and none in a request handler. A handler is dropped when its caller hangs up or its
//! deadline passes, and a transaction that is dropped half-way leaves its rows locked. A lane drops only commands: it
//! passes over those whose callers have gone before their batch runs.
//!
//! Lanes are made by a [`LaneGroup`], which closes all the lanes that it has made.

mod backoff;
mod calls;
mod group;
mod one_by_one;
mod queues;
mod turns;
mod worker;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;

pub use backoff::Backoff;
pub use calls::{BusyRow, Calls, Outcome, Outcomes, Results, all_done};
pub use group::LaneGroup;
pub use one_by_one::{OneByOne, RunOne};

use crate::{
    error::Error,
    metrics::LaneMetrics,
    shares::{self, CallerId},
    spans::{self, SpanIds},
};
use queues::{QueueKey, Queues};
use turns::Turns;
use worker::Worker;

/// Rows of one use case that commands may wait for, each in a lane of its own. Commands for more rows are overload.
const BUSY_ROWS_MAX: usize = 256;

/// Tells a caller that too many commands wait for locked rows.
const BUSY_ROWS_ARE_FULL: Error = Error::Overloaded("too many requests wait for rows that others have locked");

/// Runs the commands that a lane took together.
pub trait Batch: Send + Sync + 'static {
    /// What one caller wants.
    type Command: Send + Sync + 'static;
    /// What that caller gets.
    type Answer: Clone + Send + Sync + 'static;

    /// Names the use case, which is also the name of its transaction, and of its lanes in the metrics.
    const NAME: &'static str;

    /// Whether a lane lets calls that have just arrived queue up before it takes its next batch.
    ///
    /// This makes fewer and larger batches, which cost less. Without it, the database works on the next batch while the
    /// server still answers the one before. That is faster where the database would be idle meanwhile.
    const GATHERS: bool = true;

    /// Runs commands of one key together, at least one, and returns one outcome per command, in their order.
    ///
    /// A refusal is the result of its own command and fails no other. The same is true of a row that somebody else has
    /// locked. An error of the whole means that no command was done. If that error isn't temporary, the lane runs each
    /// command again by itself, so that a poisonous command fails alone.
    fn run(
        &self,
        calls: Calls<'_, Self::Command>,
    ) -> impl Future<Output = Result<Outcomes<Self::Answer>, Error>> + Send;

    /// Records what became of a command: its log line and its count. Records nothing unless a use case says otherwise.
    ///
    /// It runs once for every command, as part of the caller's span, after the caller was answered. A command that was refused
    /// a place, or passed over, is recorded with that error. `took` is the time from its arrival to its answer.
    fn record(&self, _command: &Self::Command, _result: &Result<Self::Answer, Error>, _took: Duration) {}
}

/// Names the lane that a command goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneKey {
    /// The one lane of a use case that has no other.
    WholeUseCase,
    /// The lane of the product with this id.
    Product(i64),
    /// The lane of the payment exception with this id.
    PaymentException(i64),
}

impl LaneKey {
    /// Tells a caller that the lane's queue is full.
    fn queue_is_full(self) -> &'static str {
        match self {
            Self::WholeUseCase => "too many requests of this kind are queued",
            Self::Product(_) => "too many requests are queued for this product",
            Self::PaymentException(_) => "too many requests are queued for this payment exception",
        }
    }

    /// Tells a caller that there is no room for another lane.
    fn lanes_are_full(self) -> &'static str {
        match self {
            Self::WholeUseCase => "too many requests are queued",
            Self::Product(_) => "requests are queued for too many products",
            Self::PaymentException(_) => "requests are queued for too many payment exceptions",
        }
    }
}

/// Limits how much the lanes of a use case take.
#[derive(Debug, Clone, Copy)]
pub struct LaneLimits {
    /// Commands in a batch, at least 1.
    pub batch_max: usize,
    /// Commands that wait in one lane, at least 1; more are refused as overload. It also limits the commands that wait
    /// for locked rows, in all lanes together. One caller has at most half of it.
    pub queue_max: usize,
    /// Lanes at the same moment, at least 1; commands for more keys are refused as overload. One caller starts at most
    /// half of them.
    pub lanes_max: usize,
    /// Batches in flight before a lane waits for its turn, at least 1. Where very many lanes are busy, more may run.
    pub in_flight: usize,
    /// How long a command may wait for rows that others have locked. A run that began just before may take longer.
    pub lock_patience: Duration,
}

/// Keeps the lanes of one use case, by key.
pub struct Lanes<B: Batch> {
    shared: Arc<Shared<B>>,
}

impl<B: Batch> Clone for Lanes<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B: Batch> fmt::Debug for Lanes<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

struct Shared<B: Batch> {
    batch: B,
    limits: LaneLimits,
    queues: Mutex<Queues<B>>,
    turns: Arc<Turns>,
    turns_of_busy: Arc<Turns>,
    tasks: TaskTracker,
    metrics: LaneMetrics,
}

struct Waiting<B: Batch> {
    command: B::Command,
    caller: Caller<B::Answer>,
}

/// Keeps a command that is done with, and where it came from.
struct Answered<B: Batch> {
    command: B::Command,
    span: Option<SpanIds>,
    result: Result<B::Answer, Error>,
    /// When the command came.
    since: Instant,
}

struct Caller<A> {
    /// Whose share the command counts for.
    id: Option<CallerId>,
    span: Option<SpanIds>,
    /// When the command came.
    since: Instant,
    reply: oneshot::Sender<Result<A, Error>>,
}

impl<B: Batch> Lanes<B> {
    /// Makes lanes that run `batch`, for a group, which closes them.
    fn new(batch: B, limits: LaneLimits, tasks: TaskTracker) -> Self {
        let turns = || Arc::new(Turns::new(limits.in_flight));
        let (turns, turns_of_busy) = (turns(), turns());
        let queues = Mutex::new(Queues::new());
        let metrics = LaneMetrics::new(B::NAME);
        Self { shared: Arc::new(Shared { batch, limits, queues, turns, turns_of_busy, tasks, metrics }) }
    }

    /// Queues a command in the lane of `key` and waits for its result.
    ///
    /// If the future is dropped before the command's batch begins, the command is taken back.
    ///
    /// # Errors
    /// `Overloaded` where the queue or the number of lanes is full, or the caller has his share of it, `Unavailable` once the group is closed, and the
    /// command's own.
    pub async fn submit(&self, key: LaneKey, command: B::Command) -> Result<B::Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let caller = Caller { id: shares::asking(), span: spans::current(), since: Instant::now(), reply };
        if let Err((error, command)) = self.shared.enqueue(key, Waiting { command, caller }) {
            self.shared.batch.record(&command, &Err(error.clone()), Duration::ZERO);
            return Err(error);
        }
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(Error::Internal("the lane ended without an answer".to_owned())),
        }
    }
}

impl<B: Batch> Shared<B> {
    /// Locks the queues. They are consistent between any two statements, so a panic elsewhere doesn't spoil them.
    fn queues(&self) -> MutexGuard<'_, Queues<B>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command, or returns it with the reason why not.
    fn enqueue(self: &Arc<Self>, key: LaneKey, waiting: Waiting<B>) -> Result<(), (Error, B::Command)> {
        let mut queues = self.queues();
        if queues.closed {
            return Err((Error::Unavailable("the server is shutting down".to_owned()), waiting.command));
        }
        let (queue_key, caller) = (QueueKey::Asked(key), waiting.caller.id);
        if let Some(queue) = queues.get_mut(queue_key) {
            let pushed = queue.try_push(waiting, self.limits.queue_max);
            return pushed.map_err(|waiting| (Error::Overloaded(key.queue_is_full()), waiting.command));
        }
        if !queues.lanes.try_take(caller, 1, self.limits.lanes_max) {
            return Err((Error::Overloaded(key.lanes_are_full()), waiting.command));
        }
        queues.insert(queue_key, caller, waiting);
        self.tasks.spawn(Worker::new(Arc::clone(self), queue_key).work());
        Ok(())
    }

    /// Queues a command for the row that somebody else has locked, or returns it where there is no room.
    fn set_aside(self: &Arc<Self>, row: BusyRow, waiting: Waiting<B>) -> Result<(), Waiting<B>> {
        let (key, caller) = (QueueKey::Busy(row), waiting.caller.id);
        let mut queues = self.queues();
        let is_new = !queues.contains(key);
        let no_room = is_new && (queues.busy_rows >= BUSY_ROWS_MAX || queues.lanes.taken() >= self.limits.lanes_max);
        if no_room || !queues.set_aside.try_take(caller, 1, self.limits.queue_max) {
            return Err(waiting);
        }
        if let Some(queue) = queues.get_mut(key) {
            queue.push(waiting);
            return Ok(());
        }
        queues.lanes.take(None, 1);
        queues.busy_rows += 1;
        queues.insert(key, None, waiting);
        self.tasks.spawn(Worker::new(Arc::clone(self), key).work());
        Ok(())
    }

    /// Records commands in a task, so that the next batch doesn't wait for their log lines.
    fn record(self: &Arc<Self>, answered: Vec<Answered<B>>) {
        if answered.is_empty() {
            return;
        }
        let (shared, now) = (Arc::clone(self), Instant::now());
        self.tasks.spawn(async move {
            for Answered { command, span, result, since } in &answered {
                spans::within(*span, || shared.batch.record(command, result, now.duration_since(*since)));
            }
        });
    }
}

#[cfg(test)]
mod tests;

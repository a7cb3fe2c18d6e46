//! Lanes: requests that wait at the same moment share a transaction.
//!
//! A hot product is one row, and the database keeps it locked until the commit is on disk. So a lane takes what has
//! queued up for its key, runs it as one batch, answers each caller, and takes what has queued up since. It never
//! waits for a batch to fill: idle, a batch is one command. A key has one batch in flight at the most; different keys
//! run side by side, as far as that gets more done (`turns`).
//!
//! A command whose row somebody else has locked leaves its batch and waits in a lane for that row alone (`worker`): the
//! commands for other rows don't wait with it. What waits there holds no connection and no turn, and is told
//! `LockContention` after [`Limits::lock_patience`].
//!
//! A batch is answered in one moment, and who writes the answers can know that there are more to come (`burst`).
//!
//! A lane lives from the first command for its key until its queue is empty, so an id that nobody asks for, or that
//! doesn't exist, leaves nothing behind. Everything about it is bounded: commands a batch, commands waiting, lanes.
//!
//! Every transaction runs in a lane and none in a request handler, because a handler is dropped when its caller hangs
//! up or its deadline passes, and a transaction dropped half-way leaves its rows locked. What is dropped here is the
//! command: one whose caller has gone before a run of its batch began is passed over.

mod burst;
mod calls;
mod turns;
mod worker;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::Span;

pub use burst::Burst;
pub use calls::{BusyRow, Calls, Outcome, Outcomes, Results, all_done, each_alone};

use crate::error::Error;
use burst::OnItsWay;
use turns::Turns;
use worker::Worker;

/// Locked rows of a use case that calls may wait for, each in a lane of its own; for further ones they are overloaded.
const BUSY_ROWS_MAX: usize = 256;

/// What a lane does with the commands that it took together.
pub trait Batch: Send + Sync + 'static {
    /// What one caller wants.
    type Command: Send + Sync + 'static;
    /// What that caller gets.
    type Answer: Clone + Send + Sync + 'static;

    /// Whether calls that have arrived, and didn't run yet, may come along in a batch: fewer and larger ones, which cost
    /// less. Else the next batch is at work in the database while the one before it is answered, which is faster where
    /// the database has nothing else to do.
    const GATHERS: bool = true;

    /// Runs commands of one key, at least one, together: one outcome per command, in their order. A refusal is one
    /// command's own result and fails no other, and so is a row that somebody else has locked. An error of the whole
    /// means that none of them was done: if it isn't temporary, each is run again alone, so that a poisonous command
    /// fails by itself.
    fn run(
        &self,
        calls: Calls<'_, Self::Command>,
    ) -> impl Future<Output = Result<Outcomes<Self::Answer>, Error>> + Send;

    /// Records what became of a command: its log line and its count. Runs once for every command, after its caller was
    /// answered, in the caller's span. A command that was refused a place or passed over is recorded with that error.
    fn record(&self, command: &Self::Command, result: &Result<Self::Answer, Error>);
}

/// How much lanes take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands a batch, at least 1.
    pub batch_max: usize,
    /// Commands waiting in one lane, at least 1; more are refused as overloaded. Also the commands that wait for locked
    /// rows, in all lanes together.
    pub queue_max: usize,
    /// Lanes at the same moment, at least 1; commands for further keys are refused as overloaded.
    pub lanes_max: usize,
    /// Batches in flight before a lane waits for its turn, at least 1. Very many busy lanes may have more.
    pub in_flight: usize,
    /// How long a command may wait for rows that others have locked. A run that began just before may take longer.
    pub lock_patience: Duration,
}

/// The lanes of one use case, by key.
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
    limits: Limits,
    state: Mutex<State<B>>,
    turns: Arc<Turns>,
    turns_of_busy: Arc<Turns>,
    burst: Burst,
    tasks: TaskTracker,
}

/// What a lane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// What callers ask for.
    Asked(i64),
    /// A row that somebody else had locked.
    Busy(BusyRow),
}

struct State<B: Batch> {
    /// A queue is here exactly as long as the worker of its lane is.
    queues: HashMap<Key, VecDeque<Waiting<B>>>,
    /// Commands that have left their batch for a locked row and are not answered yet.
    set_aside: usize,
    /// Lanes for locked rows.
    busy_rows: usize,
    closed: bool,
}

impl<B: Batch> State<B> {
    fn remove(&mut self, key: Key) -> Option<VecDeque<Waiting<B>>> {
        let queue = self.queues.remove(&key);
        if let (Key::Busy(_), Some(_)) = (key, &queue) {
            self.busy_rows -= 1;
        }
        queue
    }
}

struct Waiting<B: Batch> {
    command: B::Command,
    caller: Caller<B::Answer>,
}

/// A command that is done with, and where it came from.
struct Answered<B: Batch> {
    command: B::Command,
    span: Span,
    result: Result<B::Answer, Error>,
}

struct Caller<A> {
    span: Span,
    /// When the command came.
    since: Instant,
    reply: oneshot::Sender<(Result<A, Error>, OnItsWay)>,
}

impl<B: Batch> Lanes<B> {
    /// Lanes that run `batch`, and whose answers are part of `burst`.
    pub fn new(batch: B, limits: Limits, burst: Burst) -> Self {
        let state = Mutex::new(State { queues: HashMap::new(), set_aside: 0, busy_rows: 0, closed: false });
        let turns = || Arc::new(Turns::new(limits.in_flight));
        let (turns, turns_of_busy) = (turns(), turns());
        Self {
            shared: Arc::new(Shared { batch, limits, state, turns, turns_of_busy, burst, tasks: TaskTracker::new() }),
        }
    }

    /// Queues a command in its key's lane and waits for its result. Dropping the future takes the command back if its
    /// batch has not begun.
    ///
    /// # Errors
    /// `Overloaded` where the queue or the number of lanes is full, `Unavailable` after [`Lanes::close`], and the
    /// command's own.
    pub async fn submit(&self, key: i64, command: B::Command) -> Result<B::Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let caller = Caller { span: Span::current(), since: Instant::now(), reply };
        if let Err((error, command)) = self.shared.enqueue(Key::Asked(key), Waiting { command, caller }) {
            self.shared.batch.record(&command, &Err(error.clone()));
            return Err(error);
        }
        match answer.await {
            Ok((result, _on_its_way)) => result,
            Err(_) => Err(Error::Internal("the lane ended without an answer".to_owned())),
        }
    }

    /// Takes no more commands, and returns when those taken are answered and recorded.
    pub async fn close(&self) {
        self.shared.state().closed = true;
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl<B: Batch> Shared<B> {
    /// The state is consistent between any two statements, so a panic elsewhere doesn't spoil it.
    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command, or returns it with the reason why not.
    fn enqueue(self: &Arc<Self>, key: Key, waiting: Waiting<B>) -> Result<(), (Error, B::Command)> {
        let mut state = self.state();
        if state.closed {
            return Err((Error::Unavailable("the server is shutting down".to_owned()), waiting.command));
        }
        self.enqueue_in(&mut state, key, waiting).map_err(|(error, waiting)| (error, waiting.command))
    }

    fn enqueue_in(
        self: &Arc<Self>,
        state: &mut State<B>,
        key: Key,
        waiting: Waiting<B>,
    ) -> Result<(), (Error, Waiting<B>)> {
        let lanes = state.queues.len();
        match state.queues.entry(key) {
            Entry::Occupied(queue) if queue.get().len() >= self.limits.queue_max => {
                Err((Error::Overloaded("too many calls are waiting for this one thing"), waiting))
            }
            Entry::Occupied(mut queue) => {
                queue.get_mut().push_back(waiting);
                Ok(())
            }
            Entry::Vacant(_) if lanes >= self.limits.lanes_max => {
                Err((Error::Overloaded("too many things are asked for at once"), waiting))
            }
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([waiting]));
                self.tasks.spawn(Worker::new(Arc::clone(self), key).work());
                Ok(())
            }
        }
    }

    /// Queues a command for the row that somebody else has locked, or returns it with the reason why not.
    fn set_aside(self: &Arc<Self>, row: BusyRow, waiting: Waiting<B>) -> Result<(), (Error, Waiting<B>)> {
        let mut state = self.state();
        let is_new = !state.queues.contains_key(&Key::Busy(row));
        if state.set_aside >= self.limits.queue_max || (is_new && state.busy_rows >= BUSY_ROWS_MAX) {
            return Err((Error::Overloaded("too many calls are waiting for rows that others have locked"), waiting));
        }
        self.enqueue_in(&mut state, Key::Busy(row), waiting)?;
        state.set_aside += 1;
        state.busy_rows += usize::from(is_new);
        Ok(())
    }

    /// Records in a task of its own: log lines cost the next batch nothing.
    fn record(self: &Arc<Self>, answered: Vec<Answered<B>>) {
        if answered.is_empty() {
            return;
        }
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            for Answered { command, span, result } in &answered {
                span.in_scope(|| shared.batch.record(command, result));
            }
        });
    }
}

#[cfg(test)]
mod tests;

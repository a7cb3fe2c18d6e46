//! Lanes: requests that wait at the same moment share a transaction.
//!
//! A hot product is one row, and the database keeps it locked until the commit is on disk. So a lane takes what has
//! queued up for its key, runs it as one batch, answers each caller, and takes what has queued up since. It never
//! waits for a batch to fill: idle, a batch is one command. A key has one batch in flight at the most; different keys
//! run side by side, as far as that gets more done (`turns`).
//!
//! A batch is answered in one moment, and who writes the answers can know that there are more to come (`burst`).
//!
//! A lane lives from the first command for its key until its queue is empty, so an id that nobody asks for, or that
//! doesn't exist, leaves nothing behind. Everything about it is bounded: commands a batch, commands waiting, lanes.
//!
//! Every transaction runs in a lane and none in a request handler, because a handler is dropped when its caller hangs
//! up or its deadline passes, and a transaction dropped half-way leaves its rows locked. What is dropped here is the
//! command: one whose caller has gone before its batch began is passed over.

mod burst;
mod turns;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::Span;

pub use burst::Burst;

use crate::error::Error;
use burst::OnItsWay;
use turns::Turns;

/// One result per command, in their order.
pub type Results<A> = Vec<Result<A, Error>>;

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

    /// Runs commands of one key, at least one, together. A refusal is one command's own result and fails no other. An
    /// error of the whole means that none of them was done: if it isn't temporary, each is run again alone, so that
    /// a poisonous command fails by itself.
    fn run(&self, commands: &[Self::Command]) -> impl Future<Output = Result<Results<Self::Answer>, Error>> + Send;

    /// Records what became of a command: its log line and its count. Runs once for every command, after its caller was
    /// answered, in the caller's span. A command that was refused a place or passed over is recorded with that error.
    fn record(&self, command: &Self::Command, result: &Result<Self::Answer, Error>);
}

/// How much lanes take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands a batch, at least 1.
    pub batch_max: usize,
    /// Commands waiting in one lane, at least 1; more are refused as overloaded.
    pub queue_max: usize,
    /// Lanes at the same moment, at least 1; commands for further keys are refused as overloaded.
    pub lanes_max: usize,
    /// Batches in flight before a lane waits for its turn, at least 1. Very many busy lanes may have more.
    pub in_flight: usize,
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
    burst: Burst,
    tasks: TaskTracker,
}

struct State<B: Batch> {
    /// A queue is here exactly as long as the worker of its lane is.
    queues: HashMap<i64, VecDeque<Waiting<B>>>,
    closed: bool,
}

struct Waiting<B: Batch> {
    command: B::Command,
    caller: Caller<B::Answer>,
}

/// Commands and their callers, in the same order.
struct Taken<B: Batch> {
    commands: Vec<B::Command>,
    callers: Vec<Caller<B::Answer>>,
}

/// A command that is done with, and where it came from.
struct Answered<B: Batch> {
    command: B::Command,
    span: Span,
    result: Result<B::Answer, Error>,
}

struct Caller<A> {
    span: Span,
    reply: oneshot::Sender<(Result<A, Error>, OnItsWay)>,
}

impl<B: Batch> Lanes<B> {
    /// Lanes that run `batch`, and whose answers are part of `burst`.
    pub fn new(batch: B, limits: Limits, burst: Burst) -> Self {
        let state = Mutex::new(State { queues: HashMap::new(), closed: false });
        let turns = Arc::new(Turns::new(limits.in_flight));
        Self { shared: Arc::new(Shared { batch, limits, state, turns, burst, tasks: TaskTracker::new() }) }
    }

    /// Queues a command in its key's lane and waits for its result. Dropping the future takes the command back if its
    /// batch has not begun.
    ///
    /// # Errors
    /// `Overloaded` where the queue or the number of lanes is full, `Unavailable` after [`Lanes::close`], and the
    /// command's own.
    pub async fn submit(&self, key: i64, command: B::Command) -> Result<B::Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let caller = Caller { span: Span::current(), reply };
        if let Err((error, command)) = self.shared.enqueue(key, Waiting { command, caller }) {
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
    fn enqueue(self: &Arc<Self>, key: i64, waiting: Waiting<B>) -> Result<(), (Error, B::Command)> {
        let mut state = self.state();
        if state.closed {
            return Err((Error::Unavailable("the server is shutting down".to_owned()), waiting.command));
        }
        let lanes = state.queues.len();
        match state.queues.entry(key) {
            Entry::Occupied(queue) if queue.get().len() >= self.limits.queue_max => {
                Err((Error::Overloaded("too many calls are waiting for this one thing"), waiting.command))
            }
            Entry::Occupied(mut queue) => {
                queue.get_mut().push_back(waiting);
                Ok(())
            }
            Entry::Vacant(_) if lanes >= self.limits.lanes_max => {
                Err((Error::Overloaded("too many things are asked for at once"), waiting.command))
            }
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([waiting]));
                let worker = Worker { shared: Arc::clone(self), key, ended: false };
                self.tasks.spawn(worker.work());
                Ok(())
            }
        }
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

/// A lane at work. Dropping it before its end, be it by a panic in a batch, drops what waits, and those callers are
/// told.
struct Worker<B: Batch> {
    shared: Arc<Shared<B>>,
    key: i64,
    ended: bool,
}

impl<B: Batch> Drop for Worker<B> {
    fn drop(&mut self) {
        if !self.ended {
            let left = self.shared.state().queues.remove(&self.key);
            drop(left);
        }
    }
}

impl<B: Batch> Worker<B> {
    async fn work(mut self) {
        loop {
            let _turn = self.shared.turns.take().await;
            if B::GATHERS {
                // The worker is usually woken before the calls that have just arrived.
                tokio::task::yield_now().await;
            }
            let Some(Taken { commands, callers }) = self.next_batch() else { return };
            if !commands.is_empty() {
                let results = self.run(&commands).await;
                self.answer(commands, callers, results);
            }
        }
    }

    /// Takes the commands that wait and whose callers do too, in their order. `None`: nothing waits, and the worker has
    /// ended in the same moment, so that the next command starts another.
    fn next_batch(&mut self) -> Option<Taken<B>> {
        let mut taken = Taken { commands: Vec::new(), callers: Vec::new() };
        let mut passed_over = Vec::new();
        {
            let mut state = self.shared.state();
            let queue = state.queues.get_mut(&self.key).filter(|queue| !queue.is_empty());
            let Some(queue) = queue else {
                self.ended = true;
                state.queues.remove(&self.key);
                return None;
            };
            while taken.commands.len() < self.shared.limits.batch_max {
                let Some(Waiting { command, caller }) = queue.pop_front() else { break };
                if caller.reply.is_closed() {
                    passed_over.push(Answered { command, span: caller.span, result: Err(Error::DeadlineExceeded) });
                } else {
                    taken.commands.push(command);
                    taken.callers.push(caller);
                }
            }
        }
        self.shared.record(passed_over);
        Some(taken)
    }

    async fn run(&self, commands: &[B::Command]) -> Results<B::Answer> {
        match self.shared.batch.run(commands).await {
            Ok(results) => results,
            Err(error) if commands.len() == 1 || error.is_temporary() => {
                commands.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => {
                let mut results = Vec::with_capacity(commands.len());
                for command in commands {
                    match self.shared.batch.run(std::slice::from_ref(command)).await {
                        Ok(alone) => results.extend(alone),
                        Err(error) => results.push(Err(error)),
                    }
                }
                results
            }
        }
    }

    fn answer(&self, commands: Vec<B::Command>, callers: Vec<Caller<B::Answer>>, results: Results<B::Answer>) {
        debug_assert_eq!(commands.len(), results.len(), "one result per command");
        let mut answered = Vec::with_capacity(commands.len());
        for ((command, Caller { span, reply }), result) in commands.into_iter().zip(callers).zip(results) {
            answered.push(Answered { command, span, result: result.clone() });
            // A caller that has gone meanwhile is not an error: the command was done and is recorded.
            let _gone = reply.send((result, self.shared.burst.answer()));
        }
        self.shared.record(answered);
    }
}

#[cfg(test)]
mod tests;

//! The worker of one lane: takes what waits, runs it, answers.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::{
    Answered, Batch, BusyRow, Caller, Calls, Key, Outcome, Outcomes, Shared, Waiting,
    turns::{Turn, TurnSlot, Turns},
};
use crate::error::Error;

/// How long a batch keeps its turn. One that takes longer waits, mostly for a lock, and others may go on meanwhile; a
/// batch of a hot product takes 1 to 20 ms.
const TURN_MAX: Duration = Duration::from_millis(20);
/// The pause before a busy row is tried again: it doubles from the first to the last, which is longer where many rows are
/// busy, so that all of them together are tried a thousand times a second at the most.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_LAST: Duration = Duration::from_millis(64);
const PAUSE_FOR_EACH: Duration = Duration::from_millis(1);

/// A lane at work. Dropping it before its end, be it by a panic in a batch, drops what waits, and those callers are
/// told.
pub(super) struct Worker<B: Batch> {
    shared: Arc<Shared<B>>,
    key: Key,
    ended: bool,
}

/// Commands and their callers, in the same order.
struct Taken<B: Batch> {
    commands: Vec<B::Command>,
    callers: Vec<Caller<B::Answer>>,
}

impl<B: Batch> Drop for Worker<B> {
    fn drop(&mut self) {
        if !self.ended {
            let mut state = self.shared.state();
            let left = state.remove(self.key);
            if let (Key::Busy(_), Some(left)) = (self.key, &left) {
                state.set_aside -= left.len();
            }
            drop(state);
            drop(left);
        }
    }
}

impl<B: Batch> Worker<B> {
    pub(super) fn new(shared: Arc<Shared<B>>, key: Key) -> Self {
        Self { shared, key, ended: false }
    }

    pub(super) async fn work(mut self) {
        let mut pause = PAUSE_FIRST;
        loop {
            if let Key::Busy(_) = self.key {
                tokio::time::sleep(pause).await;
                pause = self.longest_pause().min(pause * 2);
                let told = self.tell_those_behind();
                self.shared.record(told);
            }
            let turn = self.turns().take().await;
            if B::GATHERS {
                // The worker is usually woken before the calls that have just arrived.
                tokio::task::yield_now().await;
            }
            let Some(taken) = self.next_batch() else { return };
            if !taken.commands.is_empty() {
                self.run_and_answer(turn, taken).await;
            }
        }
    }

    /// The more rows are busy, the less often each is tried.
    fn longest_pause(&self) -> Duration {
        let busy_rows = u32::try_from(self.shared.state().busy_rows).unwrap_or(u32::MAX);
        PAUSE_LAST.max(PAUSE_FOR_EACH.saturating_mul(busy_rows))
    }

    /// Those who try locked rows again have turns of their own: however many they are, they delay no other batch.
    fn turns(&self) -> &Arc<Turns> {
        match self.key {
            Key::Asked(_) => &self.shared.turns,
            Key::Busy(_) => &self.shared.turns_of_busy,
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
                state.remove(self.key);
                return None;
            };
            let before = queue.len();
            while taken.commands.len() < self.shared.limits.batch_max {
                let Some(waiting) = queue.pop_front() else { break };
                taken.push_or_pass_over(waiting, &mut passed_over);
            }
            let left = before - queue.len();
            if let Key::Busy(_) = self.key {
                state.set_aside -= left;
            }
        }
        self.shared.record(passed_over);
        Some(taken)
    }

    async fn run_and_answer(&self, turn: Turn, mut taken: Taken<B>) {
        let turn = TurnSlot::new(turn);
        let outcomes = within_turn(&turn, self.run(&turn, &mut taken)).await;
        debug_assert_eq!(taken.commands.len(), outcomes.len(), "one outcome per command");
        let mut answered = Vec::with_capacity(outcomes.len());
        let mut any_contended = false;
        let Taken { commands, callers } = taken;
        for ((command, caller), outcome) in commands.into_iter().zip(callers).zip(outcomes) {
            let waiting = Waiting { command, caller };
            match self.waits_for(&waiting, outcome) {
                Err(result) => {
                    any_contended |= matches!(result, Err(Error::LockContention));
                    answered.push(self.answer(waiting, result));
                }
                Ok(row) => {
                    if let Err((error, waiting)) = self.shared.set_aside(row, waiting) {
                        answered.push(self.answer(waiting, Err(error)));
                    }
                }
            }
        }
        if any_contended {
            answered.extend(self.tell_those_behind());
        }
        if let (true, Key::Busy(BusyRow { table, id })) = (any_contended, self.key) {
            warn!(table, id, "Row stayed locked by somebody else: calls for it are refused");
        }
        self.shared.record(answered);
    }

    /// The row that a command goes on waiting for, or else its result.
    fn waits_for(
        &self,
        waiting: &Waiting<B>,
        outcome: Outcome<B::Answer>,
    ) -> Result<BusyRow, Result<B::Answer, Error>> {
        match (outcome, self.key) {
            (Outcome::Busy(_), _) if self.is_out_of_patience(waiting) => Err(Err(Error::LockContention)),
            (Outcome::Busy(row), _) => Ok(row),
            (Outcome::Done(Err(Error::LockContention)), Key::Busy(row)) if !self.is_out_of_patience(waiting) => Ok(row),
            (Outcome::Done(result), _) => Err(result),
        }
    }

    /// Runs the commands of those who still wait for them: who goes meanwhile is passed over before the next run.
    async fn run(&self, turn: &TurnSlot, taken: &mut Taken<B>) -> Outcomes<B::Answer> {
        let outcome_unknown = AtomicBool::new(false);
        loop {
            let error = match self.run_once(turn, &taken.commands, &taken.callers, &outcome_unknown).await {
                Ok(outcomes) => return outcomes,
                Err(error) => error,
            };
            let passed_over = taken.pass_over_gone();
            let any_gone = !passed_over.is_empty();
            self.shared.record(passed_over);
            if taken.commands.is_empty() {
                return Vec::new();
            }
            if any_gone && error == Error::DeadlineExceeded {
                continue;
            }
            if taken.commands.len() == 1 || error.is_temporary() {
                return taken.commands.iter().map(|_| Outcome::Done(Err(error.clone()))).collect();
            }
            return self.run_each_alone(turn, taken).await;
        }
    }

    async fn run_each_alone(&self, turn: &TurnSlot, taken: &Taken<B>) -> Outcomes<B::Answer> {
        let mut outcomes = Vec::with_capacity(taken.commands.len());
        for (command, caller) in taken.commands.iter().zip(&taken.callers) {
            let (command, caller) = (std::slice::from_ref(command), std::slice::from_ref(caller));
            match self.run_once(turn, command, caller, &AtomicBool::new(false)).await {
                Ok(alone) => outcomes.extend(alone),
                Err(error) => outcomes.push(Outcome::Done(Err(error))),
            }
        }
        outcomes
    }

    async fn run_once(
        &self,
        turn: &TurnSlot,
        commands: &[B::Command],
        callers: &[Caller<B::Answer>],
        outcome_unknown: &AtomicBool,
    ) -> Result<Outcomes<B::Answer>, Error> {
        let wanted = || callers.iter().all(|caller| !caller.reply.is_closed());
        let since = callers.iter().map(|caller| caller.since).min().unwrap_or_else(Instant::now);
        let busy = match self.key {
            Key::Asked(_) => None,
            Key::Busy(row) => Some(row),
        };
        let calls = Calls {
            commands,
            wanted: &wanted,
            patient_until: since + self.shared.limits.lock_patience,
            busy,
            outcome_unknown,
            turn,
        };
        self.shared.batch.run(calls).await
    }

    /// Tells those who wait behind a batch that could not have its rows: had they to wait for the same again, they would
    /// hear of it too late.
    fn tell_those_behind(&self) -> Vec<Answered<B>> {
        let mut state = self.shared.state();
        let Some(queue) = state.queues.get_mut(&self.key) else { return Vec::new() };
        let (told, left): (VecDeque<_>, VecDeque<_>) =
            queue.drain(..).partition(|waiting| self.is_out_of_patience(waiting));
        *queue = left;
        if let Key::Busy(_) = self.key {
            state.set_aside -= told.len();
        }
        drop(state);
        told.into_iter().map(|waiting| self.answer(waiting, Err(Error::LockContention))).collect()
    }

    fn is_out_of_patience(&self, waiting: &Waiting<B>) -> bool {
        waiting.caller.since.elapsed() >= self.shared.limits.lock_patience
    }

    fn answer(&self, waiting: Waiting<B>, result: Result<B::Answer, Error>) -> Answered<B> {
        let Waiting { command, caller: Caller { span, reply, .. } } = waiting;
        // A caller that has gone meanwhile is not an error: the command was done and is recorded.
        let _gone = reply.send((result.clone(), self.shared.burst.answer()));
        Answered { command, span, result }
    }
}

impl<B: Batch> Taken<B> {
    fn push_or_pass_over(&mut self, Waiting { command, caller }: Waiting<B>, passed_over: &mut Vec<Answered<B>>) {
        if caller.reply.is_closed() {
            passed_over.push(Answered { command, span: caller.span, result: Err(Error::DeadlineExceeded) });
        } else {
            self.commands.push(command);
            self.callers.push(caller);
        }
    }

    fn pass_over_gone(&mut self) -> Vec<Answered<B>> {
        let mut passed_over = Vec::new();
        let commands = std::mem::take(&mut self.commands);
        let callers = std::mem::take(&mut self.callers);
        for (command, caller) in commands.into_iter().zip(callers) {
            self.push_or_pass_over(Waiting { command, caller }, &mut passed_over);
        }
        passed_over
    }
}

/// Runs a batch, which keeps its turn for [`TURN_MAX`] at the most.
async fn within_turn<T>(turn: &TurnSlot, run: impl Future<Output = T>) -> T {
    tokio::pin!(run);
    match tokio::time::timeout(TURN_MAX, run.as_mut()).await {
        Ok(done) => done,
        Err(_) => {
            turn.leave();
            run.await
        }
    }
}

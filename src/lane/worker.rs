//! The worker of one lane: takes what waits, runs it, answers.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::{
    Answered, BUSY_ROWS_ARE_FULL, Backoff, Batch, BusyRow, Caller, Calls, LaneKey, Outcome, Outcomes, Shared, Waiting,
    queues::{Queue, QueueKey, Queues},
    turns::{Turn, TurnSlot, Turns},
};
use crate::{
    error::Error,
    spans::{self, Span},
};

/// How long a batch keeps its turn. A batch of a hot product takes 1 to 20 ms. A batch that takes longer waits, mostly
/// for a lock, and others may go on meanwhile.
const TURN_MAX: Duration = Duration::from_millis(20);
/// How much each busy row adds to the longest pause before a busy row is tried again. So all busy rows together are
/// tried at most a thousand times a second.
const PAUSE_FOR_EACH_ROW: Duration = Duration::from_millis(1);

/// Works for one lane. If it is dropped early, for example by a panic in a batch, the waiting commands are dropped too,
/// and their callers get an error.
pub(super) struct Worker<B: Batch> {
    shared: Arc<Shared<B>>,
    key: QueueKey,
    ended: bool,
}

/// Keeps the commands of the next batch and their callers, in the same order.
struct InHand<B: Batch> {
    commands: Vec<B::Command>,
    callers: Vec<Caller<B::Answer>>,
}

impl<B: Batch> Drop for Worker<B> {
    fn drop(&mut self) {
        if !self.ended {
            let mut queues = self.shared.queues();
            let left = queues.remove(self.key).map(Queue::into_waiting);
            for waiting in left.iter().flatten() {
                self.leave(&mut queues, waiting);
            }
            drop(queues);
            drop(left);
        }
    }
}

impl<B: Batch> Worker<B> {
    pub(super) fn new(shared: Arc<Shared<B>>, key: QueueKey) -> Self {
        Self { shared, key, ended: false }
    }

    pub(super) async fn work(mut self) {
        let mut backoff = Backoff::default();
        loop {
            if let QueueKey::Busy(_) = self.key {
                tokio::time::sleep(backoff.pause()).await;
                backoff.double(self.longest_pause());
                let refused = self.refuse_those_out_of_patience();
                self.shared.record(refused);
            }
            let turn = self.turns().take().await;
            if B::GATHERS {
                // The runtime usually wakes this worker before the calls that have just arrived.
                tokio::task::yield_now().await;
            }
            let Some(in_hand) = self.next_batch() else { return };
            if !in_hand.commands.is_empty() {
                self.run_and_answer(turn, in_hand).await;
            }
        }
    }

    /// Returns the longest pause: the more rows are busy, the less often each is tried.
    fn longest_pause(&self) -> Duration {
        let busy_rows = u32::try_from(self.shared.queues().busy_rows).unwrap_or(u32::MAX);
        Backoff::LONGEST.max(PAUSE_FOR_EACH_ROW.saturating_mul(busy_rows))
    }

    /// Returns the turns that this lane waits for. Lanes of locked rows have their own, so they delay no other batch.
    fn turns(&self) -> &Arc<Turns> {
        match self.key {
            QueueKey::Asked(_) => &self.shared.turns,
            QueueKey::Busy(_) => &self.shared.turns_of_busy,
        }
    }

    /// Takes the commands that wait and whose callers still wait too, in their order.
    ///
    /// `None` means that nothing waits. The worker has ended in the same moment, so the next command starts another
    /// one.
    fn next_batch(&mut self) -> Option<InHand<B>> {
        let mut in_hand = InHand { commands: Vec::new(), callers: Vec::new() };
        let mut passed_over = Vec::new();
        {
            let mut queues = self.shared.queues();
            let queue = queues.get_mut(self.key).filter(|queue| !queue.is_empty());
            let Some(queue) = queue else {
                self.ended = true;
                queues.remove(self.key);
                return None;
            };
            let mut were_set_aside = Vec::new();
            while in_hand.commands.len() < self.shared.limits.batch_max {
                let Some(waiting) = queue.pop() else { break };
                if let QueueKey::Busy(_) = self.key {
                    were_set_aside.push(waiting.caller.id);
                }
                in_hand.push_or_pass_over(waiting, &mut passed_over);
            }
            for caller in were_set_aside {
                queues.set_aside.give_back(caller, 1);
            }
        }
        self.shared.record(passed_over);
        self.measure(&in_hand);
        Some(in_hand)
    }

    /// Gives back the place that a command had beside its queue, if it waited for a locked row.
    fn leave(&self, queues: &mut Queues<B>, waiting: &Waiting<B>) {
        if let QueueKey::Busy(_) = self.key {
            queues.set_aside.give_back(waiting.caller.id, 1);
        }
    }

    /// Records how large the batch is, and how long its commands have waited. A lane of a locked row has commands that
    /// were in a batch before.
    fn measure(&self, in_hand: &InHand<B>) {
        if let (QueueKey::Asked(_), 1..) = (self.key, in_hand.commands.len()) {
            let now = Instant::now();
            let waits = in_hand.callers.iter().map(|caller| now.duration_since(caller.since));
            self.shared.metrics.record_batch(in_hand.commands.len(), waits);
        }
    }

    async fn run_and_answer(&self, turn: Turn, mut in_hand: InHand<B>) {
        let turn = TurnSlot::new(turn);
        let outcomes = within_turn(&turn, self.run(&turn, &mut in_hand)).await;
        debug_assert_eq!(in_hand.commands.len(), outcomes.len(), "one outcome per command");
        let mut answered = Vec::with_capacity(outcomes.len());
        let mut any_contended = false;
        let InHand { commands, callers } = in_hand;
        for ((command, caller), outcome) in commands.into_iter().zip(callers).zip(outcomes) {
            let waiting = Waiting { command, caller };
            match self.waits_for(&waiting, outcome) {
                Err(result) => {
                    any_contended |= matches!(result, Err(Error::LockContention));
                    answered.push(self.answer(waiting, result));
                }
                Ok(row) => {
                    if let Err(waiting) = self.shared.set_aside(row, waiting) {
                        answered.push(self.answer(waiting, Err(BUSY_ROWS_ARE_FULL)));
                    }
                }
            }
        }
        if any_contended {
            answered.extend(self.refuse_those_out_of_patience());
        }
        if let (true, QueueKey::Busy(BusyRow { table, id })) = (any_contended, self.key) {
            warn!(table, id, "Row stayed locked by somebody else: calls for it are refused");
        }
        self.shared.record(answered);
    }

    /// Returns the row that a command goes on waiting for, or its result.
    fn waits_for(
        &self,
        waiting: &Waiting<B>,
        outcome: Outcome<B::Answer>,
    ) -> Result<BusyRow, Result<B::Answer, Error>> {
        match (outcome, self.key) {
            (Outcome::Busy(_), _) if self.is_out_of_patience(waiting) => Err(Err(Error::LockContention)),
            (Outcome::Busy(row), _) => Ok(row),
            (Outcome::Done(Err(Error::LockContention)), QueueKey::Busy(row)) if !self.is_out_of_patience(waiting) => {
                Ok(row)
            }
            (Outcome::Done(result), _) => Err(result),
        }
    }

    /// Runs the commands. Those whose callers go meanwhile are passed over before the next run.
    async fn run(&self, turn: &TurnSlot, in_hand: &mut InHand<B>) -> Outcomes<B::Answer> {
        let outcome_unknown = AtomicBool::new(false);
        loop {
            let error = match self.run_once(turn, &in_hand.commands, &in_hand.callers, &outcome_unknown).await {
                Ok(outcomes) => return outcomes,
                Err(error) => error,
            };
            let passed_over = in_hand.pass_over_gone();
            let any_gone = !passed_over.is_empty();
            self.shared.record(passed_over);
            if in_hand.commands.is_empty() {
                return Vec::new();
            }
            if any_gone && error == Error::DeadlineExceeded {
                continue;
            }
            if in_hand.commands.len() == 1 || error.is_temporary() {
                return in_hand.commands.iter().map(|_| Outcome::Done(Err(error.clone()))).collect();
            }
            return self.run_each_alone(turn, in_hand).await;
        }
    }

    async fn run_each_alone(&self, turn: &TurnSlot, in_hand: &InHand<B>) -> Outcomes<B::Answer> {
        let mut outcomes = Vec::with_capacity(in_hand.commands.len());
        for (command, caller) in in_hand.commands.iter().zip(&in_hand.callers) {
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
            QueueKey::Asked(_) => None,
            QueueKey::Busy(row) => Some(row),
        };
        let calls = Calls {
            commands,
            wanted: &wanted,
            patient_until: since + self.shared.limits.lock_patience,
            busy,
            outcome_unknown,
            turn,
        };
        let mut span = self.span(callers);
        let outcomes = spans::in_span(span.ids(), self.shared.batch.run(calls)).await;
        if let Err(error) = &outcomes
            && *error != Error::DeadlineExceeded
        {
            span.fail(error.reason());
        }
        outcomes
    }

    fn span(&self, callers: &[Caller<B::Answer>]) -> Span {
        let product_id = match self.key {
            QueueKey::Asked(LaneKey::Product(id)) => Some(id),
            QueueKey::Asked(_) | QueueKey::Busy(_) => None,
        };
        spans::batch(B::NAME, callers.len(), product_id, callers.iter().map(|caller| caller.span))
    }

    /// Refuses the commands behind a batch that could not lock its rows, as far as they are out of patience. If they
    /// had to wait for the same rows again, their callers would get the answer too late.
    fn refuse_those_out_of_patience(&self) -> Vec<Answered<B>> {
        let mut queues = self.shared.queues();
        let Some(queue) = queues.get_mut(self.key) else { return Vec::new() };
        let refused = queue.take_if(|waiting| self.is_out_of_patience(waiting));
        for waiting in &refused {
            self.leave(&mut queues, waiting);
        }
        drop(queues);
        refused.into_iter().map(|waiting| self.answer(waiting, Err(Error::LockContention))).collect()
    }

    fn is_out_of_patience(&self, waiting: &Waiting<B>) -> bool {
        waiting.caller.since.elapsed() >= self.shared.limits.lock_patience
    }

    fn answer(&self, waiting: Waiting<B>, result: Result<B::Answer, Error>) -> Answered<B> {
        let Waiting { command, caller: Caller { id: _, span, reply, since } } = waiting;
        // It is no error if the caller has gone meanwhile: the command was done and is recorded.
        let _gone = reply.send(result.clone());
        Answered { command, span, result, since }
    }
}

impl<B: Batch> InHand<B> {
    fn push_or_pass_over(&mut self, Waiting { command, caller }: Waiting<B>, passed_over: &mut Vec<Answered<B>>) {
        if caller.reply.is_closed() {
            let Caller { span, since, .. } = caller;
            passed_over.push(Answered { command, span, result: Err(Error::DeadlineExceeded), since });
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

/// Runs a batch, which keeps its turn for at most [`TURN_MAX`].
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

//! What a batch is given, and what it answers.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::turns::TurnSlot;
use crate::error::Error;

/// A row that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BusyRow {
    /// The table's name.
    pub table: &'static str,
    /// The row's primary key.
    pub id: i64,
}

/// What became of a command in a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<A> {
    /// It is done with.
    Done(Result<A, Error>),
    /// Nothing was done: it needs a row that somebody else has locked.
    Busy(BusyRow),
}

impl<A> From<Result<A, Error>> for Outcome<A> {
    fn from(result: Result<A, Error>) -> Self {
        Self::Done(result)
    }
}

/// One outcome per command, in their order.
pub type Outcomes<A> = Vec<Outcome<A>>;

/// One result per command, in their order, where no row was busy.
pub type Results<A> = Vec<Result<A, Error>>;

/// The outcomes of commands that are all done with.
pub fn all_done<A>(results: Results<A>) -> Outcomes<A> {
    results.into_iter().map(Outcome::Done).collect()
}

/// The commands of a batch, and what is known of their callers.
pub struct Calls<'a, C> {
    pub(super) commands: &'a [C],
    pub(super) wanted: &'a (dyn Fn() -> bool + Send + Sync),
    pub(super) patient_until: Instant,
    pub(super) busy: Option<BusyRow>,
    pub(super) outcome_unknown: &'a AtomicBool,
    pub(super) turn: &'a TurnSlot,
}

impl<C> Clone for Calls<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Calls<'_, C> {}

impl<'a, C> Calls<'a, C> {
    /// The commands, at least one.
    pub fn commands(&self) -> &'a [C] {
        self.commands
    }

    /// Whether every caller still waits. A run for somebody who has gone may undo what he was told since by another
    /// server, so none begins.
    pub fn wanted(&self) -> &'a (dyn Fn() -> bool + Send + Sync) {
        self.wanted
    }

    /// The last moment at which a run may begin that may wait for a lock.
    pub fn patient_until(&self) -> Instant {
        self.patient_until
    }

    /// The row that the commands left another batch for, if they did.
    pub fn busy(&self) -> Option<BusyRow> {
        self.busy
    }

    /// Whether an earlier run for these callers may have committed all the same; a run that may have sets it.
    pub fn outcome_unknown(&self) -> &'a AtomicBool {
        self.outcome_unknown
    }

    /// Gives the turn to another batch: this one waits for a row that somebody has locked.
    pub fn leave_turn(&self) {
        self.turn.leave();
    }

    /// Whether an earlier run for these callers may have committed all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        self.outcome_unknown.load(Ordering::Relaxed)
    }
}

/// Runs each command by itself, for use cases that have nothing to share.
///
/// # Errors
/// None: each command has a result of its own.
pub async fn each_alone<'a, C, A, F>(calls: Calls<'a, C>, mut run: impl FnMut(&'a C) -> F) -> Result<Outcomes<A>, Error>
where
    F: Future<Output = Result<A, Error>>,
{
    let mut outcomes = Vec::with_capacity(calls.commands().len());
    for command in calls.commands() {
        outcomes.push(Outcome::Done(run(command).await));
    }
    Ok(outcomes)
}

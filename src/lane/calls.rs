//! What a batch is given, and what it returns.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::turns::TurnSlot;
use crate::error::Error;

/// Names a row that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BusyRow {
    /// The table's name.
    pub table: &'static str,
    /// The row's primary key.
    pub id: i64,
}

/// Says what became of a command in a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<A> {
    /// The command is done with, and this is its result.
    Done(Result<A, Error>),
    /// Nothing was done: the command needs a row that somebody else has locked.
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

/// Turns the results of commands that are all done with into outcomes.
pub fn all_done<A>(results: Results<A>) -> Outcomes<A> {
    results.into_iter().map(Outcome::Done).collect()
}

/// Carries the commands of a batch, and what the lane knows about their callers.
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
    /// Returns the commands, at least one.
    pub fn commands(&self) -> &'a [C] {
        self.commands
    }

    /// Tells whether every caller still waits.
    ///
    /// No run begins once a caller has gone. Another server may have told that caller something since, and the run
    /// could undo it.
    pub fn wanted(&self) -> &'a (dyn Fn() -> bool + Send + Sync) {
        self.wanted
    }

    /// Returns the last moment at which a run may begin that may wait for a lock.
    pub fn patient_until(&self) -> Instant {
        self.patient_until
    }

    /// Returns the row for which the commands left another batch, if they did.
    pub fn busy(&self) -> Option<BusyRow> {
        self.busy
    }

    /// Returns the flag behind [`Calls::is_outcome_unknown`]. A run that may have committed sets it.
    pub fn outcome_unknown(&self) -> &'a AtomicBool {
        self.outcome_unknown
    }

    /// Gives the turn to another batch, since this batch waits for a row that somebody has locked.
    pub fn leave_turn(&self) {
        self.turn.leave();
    }

    /// Tells whether an earlier run for these callers may have committed although it failed.
    pub fn is_outcome_unknown(&self) -> bool {
        self.outcome_unknown.load(Ordering::Relaxed)
    }
}

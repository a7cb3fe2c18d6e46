//! Use cases whose commands have nothing to share.

use std::{future::Future, time::Duration};

use super::{Batch, Calls, Outcome, Outcomes};
use crate::error::Error;

/// Runs one command.
pub trait RunOne: Send + Sync + 'static {
    /// What one caller wants.
    type Command: Send + Sync + 'static;
    /// What that caller gets.
    type Answer: Clone + Send + Sync + 'static;

    /// Names the use case, as [`Batch::NAME`] does.
    const NAME: &'static str;

    /// Runs one of the commands of `calls`.
    fn run_one(
        &self,
        command: &Self::Command,
        calls: Calls<'_, Self::Command>,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// Records what became of a command, as [`Batch::record`] does.
    fn record(&self, _command: &Self::Command, _result: &Result<Self::Answer, Error>) {}
}

/// Runs the commands of a batch one after the other. Each has a result of its own.
#[derive(Debug)]
pub struct OneByOne<R>(pub(super) R);

impl<R: RunOne> Batch for OneByOne<R> {
    type Command = R::Command;
    type Answer = R::Answer;

    const NAME: &'static str = R::NAME;

    async fn run(&self, calls: Calls<'_, R::Command>) -> Result<Outcomes<R::Answer>, Error> {
        let mut outcomes = Vec::with_capacity(calls.commands().len());
        for command in calls.commands() {
            outcomes.push(Outcome::Done(self.0.run_one(command, calls).await));
        }
        Ok(outcomes)
    }

    fn record(&self, command: &R::Command, result: &Result<R::Answer, Error>, _took: Duration) {
        self.0.record(command, result);
    }
}

//! ResolvePaymentException: writes down what was done about a payment that needed a person.
//!
//! exception FOR UPDATE · decide · exception and COMMIT as one script. Nothing else is locked.

use tracing::{info, warn};

use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, payment_exceptions},
    domain::{PaymentException, PaymentExceptionId, Remark},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes, each_alone},
};

/// An operator's word that an exception is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvePaymentException {
    /// The exception.
    pub id: PaymentExceptionId,
    /// What was done.
    pub note: Remark,
}

/// A resolved exception, and whether this call resolved it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The exception, as it was resolved first.
    pub exception: PaymentException,
    /// Whether this call did it.
    pub first_time: bool,
}

/// The batch of ResolvePaymentException: one command.
pub struct ResolvePaymentExceptions {
    database: Database,
}

impl ResolvePaymentExceptions {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    async fn resolve(
        &self,
        command: &ResolvePaymentException,
        calls: Calls<'_, ResolvePaymentException>,
    ) -> Result<Resolved, Error> {
        let ResolvePaymentException { id, note } = command;
        let Committed { value: resolved, .. } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("resolve_payment_exception", async |conn: &mut Connection, _attempt| {
                let mut script = Script::default();
                let Some((mut exception, now)) = payment_exceptions::lock(conn, *id).await? else {
                    return Ok(Plan { script, value: Err(Missing::PaymentException(*id).into()) });
                };
                let first_time = exception.resolve(note, now);
                if let (true, Some(resolution)) = (first_time, &exception.resolution) {
                    payment_exceptions::resolve(&mut script, *id, resolution);
                }
                Ok::<_, Failure>(Plan { script, value: Ok(Resolved { exception, first_time }) })
            })
            .await?;
        resolved
    }
}

impl Batch for ResolvePaymentExceptions {
    type Command = ResolvePaymentException;
    type Answer = Resolved;

    async fn run(&self, calls: Calls<'_, ResolvePaymentException>) -> Result<Outcomes<Resolved>, Error> {
        each_alone(calls, |command| self.resolve(command, calls)).await
    }

    fn record(&self, command: &ResolvePaymentException, result: &Result<Resolved, Error>) {
        let Ok(Resolved { exception, first_time }) = result else { return };
        let (exception_id, order_id) = (exception.id.get(), exception.order_id.get());
        let same_note = exception.resolution.as_ref().is_some_and(|resolution| resolution.note == command.note);
        match (first_time, same_note) {
            (true, _) => info!(exception_id, order_id, "Payment exception resolved"),
            (false, true) => {}
            (false, false) => {
                warn!(exception_id, order_id, "Payment exception was resolved before with another note, which stays");
            }
        }
    }
}

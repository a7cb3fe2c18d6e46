//! ResolvePaymentException: writes down what was done about a payment that needed a person.
//!
//! exception FOR UPDATE · decide · exception and COMMIT as one script. Nothing else is locked.

use tracing::{info, warn};

use super::{
    Checkout,
    operator_actions::{Method, OperatorCall, changed},
};
use crate::{
    db::{Committed, Connection, Database, Failure, Plan, Script, operator_actions::ActionProduct, payment_exceptions},
    domain::{PaymentException, PaymentExceptionId, Principal, Remark},
    error::{Error, Missing},
    lane::{Calls, LaneKey, RunOne},
};

/// Says that an operator is done with an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvePaymentException {
    /// The exception.
    pub id: PaymentExceptionId,
    /// What was done.
    pub note: Remark,
    /// Who asks.
    pub principal: Principal,
}

impl ResolvePaymentException {
    fn call(&self) -> OperatorCall<'_> {
        OperatorCall { principal: &self.principal, method: Method::ResolvePaymentException, request_id: None }
    }
}

/// Shows a resolved exception, and says whether this call resolved it.
#[derive(Debug, Clone)]
pub struct ResolvedException {
    /// The exception, as it was first resolved.
    pub exception: PaymentException,
    /// Whether this call resolved it.
    pub first_time: bool,
}

/// Runs ResolvePaymentException commands, one by one.
pub struct ResolvePaymentExceptionBatch {
    database: Database,
}

impl ResolvePaymentExceptionBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl RunOne for ResolvePaymentExceptionBatch {
    type Command = ResolvePaymentException;
    type Answer = ResolvedException;

    const NAME: &'static str = "resolve_payment_exception";

    async fn run_one(
        &self,
        command: &ResolvePaymentException,
        calls: Calls<'_, ResolvePaymentException>,
    ) -> Result<ResolvedException, Error> {
        let ResolvePaymentException { id, note, principal: _ } = command;
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
                    let changes =
                        [changed("exception_id", None, Some(*id)), changed("note", None, Some(note.as_str()))];
                    command.call().write(&mut script, ActionProduct::Known(exception.product_id), changes)?;
                }
                Ok::<_, Failure>(Plan { script, value: Ok(ResolvedException { exception, first_time }) })
            })
            .await?;
        resolved
    }

    fn record(&self, command: &ResolvePaymentException, result: &Result<ResolvedException, Error>) {
        command.call().log(result.as_ref().ok().map(|resolved| resolved.exception.product_id), result);
        let Ok(ResolvedException { exception, first_time }) = result else { return };
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

impl Checkout {
    /// Writes down what was done about a payment that needed a person.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn resolve_payment_exception(&self, command: ResolvePaymentException) -> Result<PaymentException, Error> {
        let key = LaneKey::PaymentException(command.id.get());
        Ok(self.resolve_payment_exception.submit(key, command).await?.exception)
    }
}

//! AcceptPayment: takes a payment of another amount as payment of its order, by an operator's word.
//!
//! exception, unlocked · order FOR UPDATE · exception FOR UPDATE · decide · order, exception and COMMIT as one script. The
//! order comes first, as in every transaction that changes one.

use tracing::info;

use super::{
    Checkout,
    operator_actions::{Method, OperatorCall, changed},
};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script, operator_actions::ActionProduct, orders,
        payment_exceptions, payment_webhooks,
    },
    domain::{Order, OrderStatus, PaymentException, PaymentExceptionId, Principal, Remark, SettledBy},
    error::{Error, Missing},
    lane::{Calls, LaneKey, RunOne},
    metrics::{self, OrderState},
};

/// Says that an operator accepts a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptPayment {
    /// The exception.
    pub id: PaymentExceptionId,
    /// Why.
    pub note: Remark,
    /// Who asks.
    pub principal: Principal,
}

impl AcceptPayment {
    fn call(&self) -> OperatorCall<'_> {
        OperatorCall { principal: &self.principal, method: Method::AcceptPayment, request_id: None }
    }
}

/// Shows an accepted payment and its order.
#[derive(Debug, Clone)]
pub struct AcceptedPayment {
    /// The exception, as it was accepted.
    pub exception: PaymentException,
    /// The order, paid.
    pub order: Order,
    /// Whether this call accepted the payment.
    pub first_time: bool,
}

/// Runs AcceptPayment commands, one by one.
pub struct AcceptPaymentBatch {
    database: Database,
}

impl AcceptPaymentBatch {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }
}

impl AcceptPayment {
    async fn plan(&self, conn: &mut Connection) -> Result<Plan<Result<AcceptedPayment, Error>>, Failure> {
        let mut script = Script::default();
        let missing = || Err(Missing::PaymentException(self.id).into());
        let Some(PaymentException { order_id, .. }) = payment_exceptions::read_unlocked(&mut *conn, self.id).await?
        else {
            return Ok(Plan { script, value: missing() });
        };
        let Some(mut order) = orders::lock(&mut *conn, order_id).await? else {
            return Ok(Plan { script, value: Err(Missing::Order(order_id).into()) });
        };
        let Some((mut exception, now)) = payment_exceptions::lock(&mut *conn, self.id).await? else {
            return Ok(Plan { script, value: missing() });
        };
        let first_time = match exception.accept(&order, &self.note, now) {
            Ok(first_time) => first_time,
            Err(refusal) => return Ok(Plan { script, value: Err(refusal.into()) }),
        };
        if let (true, Some(resolution)) = (first_time, &exception.resolution) {
            // The event keeps its answer, amount_mismatch: it was a true answer then.
            let event = payment_webhooks::with_key(conn, &exception.key).await?;
            let payment_id = event.and_then(|listed| listed.event.event.payment_id);
            orders::settle(&mut script, &[(order_id, payment_id.clone())], SettledBy::Acceptance);
            payment_exceptions::resolve(&mut script, self.id, resolution);
            let changes = [
                changed("exception_id", None, Some(self.id)),
                changed("note", None, Some(self.note.as_str())),
                changed("order_id", None, Some(order_id)),
                changed("order_status", Some("pending"), Some("paid")),
            ];
            self.call().write(&mut script, ActionProduct::Known(exception.product_id), changes)?;
            script.ask_for_time();
            (order.status, order.payment_id) = (OrderStatus::Paid, payment_id);
        }
        Ok(Plan { script, value: Ok(AcceptedPayment { exception, order, first_time }) })
    }
}

impl RunOne for AcceptPaymentBatch {
    type Command = AcceptPayment;
    type Answer = AcceptedPayment;

    const NAME: &'static str = "accept_payment";

    async fn run_one(
        &self,
        command: &AcceptPayment,
        calls: Calls<'_, AcceptPayment>,
    ) -> Result<AcceptedPayment, Error> {
        let Committed { value: mut accepted, script_time, .. } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("accept_payment", async |conn: &mut Connection, _attempt| command.plan(conn).await)
            .await?;
        if let Ok(AcceptedPayment { order, first_time: true, .. }) = &mut accepted {
            order.settled_at = script_time;
        }
        accepted
    }

    fn record(&self, command: &AcceptPayment, result: &Result<AcceptedPayment, Error>) {
        command.call().log(result.as_ref().ok().map(|accepted| accepted.exception.product_id), result);
        if let Ok(AcceptedPayment { exception, first_time: true, .. }) = result {
            let (exception_id, order_id) = (exception.id.get(), exception.order_id.get());
            info!(exception_id, order_id, amount_cents = exception.amount_cents, "Payment accepted");
            metrics::count_order(OrderState::Paid, 1);
        }
    }
}

impl Checkout {
    /// Accepts a payment of another amount.
    ///
    /// # Errors
    /// `NotFound`, `Refused` (it can't be accepted), or temporary.
    pub async fn accept_payment(&self, command: AcceptPayment) -> Result<AcceptedPayment, Error> {
        let key = LaneKey::PaymentException(command.id.get());
        self.accept_payment.submit(key, command).await
    }
}

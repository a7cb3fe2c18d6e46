//! The RPCs of PaymentService, which the gateway calls.

use std::{sync::Arc, time::Instant};

use tonic::{Request, Response, Status};

use super::{
    convert::{self, BadFields, failed, not_negative},
    gate::Gate,
};
use crate::{
    checkout::{HandlePaymentWebhook, handle_payment_webhook::record_early},
    domain::{IdempotencyKey, Invalid, OrderId, PaymentEvent, PaymentId, PaymentStatus, ids::PROVIDER_ID_LENGTH_MAX},
    error::Error,
    pb::{self, HandlePaymentWebhookRequest, HandlePaymentWebhookResponse, payment_service_server::PaymentService},
};

/// Answers the RPCs of the service by a checkout.
#[derive(Debug)]
pub(super) struct PaymentRpcs {
    gate: Arc<Gate>,
}

impl PaymentRpcs {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

fn payment_status(value: i32) -> Result<PaymentStatus, Invalid> {
    match pb::PaymentStatus::try_from(value) {
        Ok(pb::PaymentStatus::Success) => Ok(PaymentStatus::Success),
        Ok(pb::PaymentStatus::Failure) => Ok(PaymentStatus::Failure),
        Ok(pb::PaymentStatus::AttemptFailed) => Ok(PaymentStatus::AttemptFailed),
        Ok(pb::PaymentStatus::Unspecified) | Err(_) => {
            Err(Invalid::new("status", "must be SUCCESS, FAILURE or ATTEMPT_FAILED"))
        }
    }
}

pub(super) fn command(request: &HandlePaymentWebhookRequest) -> Result<HandlePaymentWebhook, Error> {
    let mut bad = BadFields::default();
    let idempotency_key = bad.take(IdempotencyKey::parse(&request.idempotency_key));
    let order_id = bad.take(OrderId::parse(request.order_id));
    let status = bad.take(payment_status(request.status));
    let amount_cents = bad.take_optional(request.amount_cents.map(|cents| not_negative("amount_cents", cents)));
    let payment_id = bad.take_optional(request.payment_id.as_deref().map(PaymentId::parse));
    let (Some(idempotency_key), Some(order_id), Some(status), Some(amount_cents), Some(payment_id)) =
        (idempotency_key, order_id, status, amount_cents, payment_id)
    else {
        return Err(bad.error());
    };
    let event = PaymentEvent { status, amount_cents, payment_id };
    Ok(HandlePaymentWebhook { idempotency_key, order_id, event })
}

/// Cuts a key for the log, between two characters, to the length that a valid key may have.
///
/// An invalid key may be as long as the whole message.
fn logged(idempotency_key: &str) -> &str {
    let mut end = PROVIDER_ID_LENGTH_MAX.min(idempotency_key.len());
    while !idempotency_key.is_char_boundary(end) {
        end -= 1;
    }
    &idempotency_key[..end]
}

#[tonic::async_trait]
impl PaymentService for PaymentRpcs {
    async fn handle_payment_webhook(
        &self,
        request: Request<HandlePaymentWebhookRequest>,
    ) -> Result<Response<HandlePaymentWebhookResponse>, Status> {
        let request = request.into_inner();
        let began = Instant::now();
        let early = |error: Error| {
            record_early(logged(&request.idempotency_key), request.order_id, &error, began.elapsed());
            failed(error)
        };
        let command = command(&request).map_err(early)?;
        let checkout = self.gate.checkout().await.map_err(early)?;
        let answer = checkout.handle_payment_webhook(command).await.map_err(failed)?;
        Ok(Response::new(HandlePaymentWebhookResponse {
            order_id: request.order_id,
            order_status: convert::order_status(answer.settlement.order_status).into(),
            idempotency_key: request.idempotency_key,
            first_time: answer.first_time,
            refund_required: answer.settlement.result.refund_required(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_key_is_logged_up_to_the_length_of_a_good_one() {
        let ascii = "k".repeat(256 * 1024);
        assert_eq!(logged(&ascii), &ascii[..255]);
        let two_bytes_each = "é".repeat(1000);
        assert_eq!(logged(&two_bytes_each), "é".repeat(127));
        assert_eq!((logged(""), logged("key")), ("", "key"));
    }
}

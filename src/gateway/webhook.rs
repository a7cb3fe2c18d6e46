//! Delivers a payment webhook to the server. A delivery that the server has not logged is logged here, and only here.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use http::request::Parts;
use tracing::{debug, error, warn};

use super::{
    body,
    reply::{Asked, Reply},
    request::{self, BadWebhook},
    signature::WebhookAuth,
    upstream::{CallError, Upstream},
};
use crate::pb::HandlePaymentWebhookResponse;

/// Holds what the gateway has read of a delivery.
#[derive(Default)]
struct Delivery {
    idempotency_key: Option<String>,
    order_id: Option<i64>,
}

/// Says why a delivery got no response.
enum Undelivered {
    /// The gateway refused it.
    Refused(Reply),
    /// The server refused it, or could not be called.
    Failed(CallError),
}

impl From<Reply> for Undelivered {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

/// Checks a webhook, hands it to the server, and logs it unless the server has logged it.
pub(super) async fn deliver(
    upstream: &Upstream,
    auth: &WebhookAuth,
    head: &Parts,
    body: Body,
) -> Result<HandlePaymentWebhookResponse, Reply> {
    let mut delivery = Delivery::default();
    let ended = delivery.run(upstream, auth, head, body).await;
    ended.map_err(|undelivered| {
        delivery.log(&undelivered);
        match undelivered {
            Undelivered::Refused(reply) => reply,
            Undelivered::Failed(failure) => Reply::from_call(&failure, Asked::Webhook),
        }
    })
}

impl Delivery {
    async fn run(
        &mut self,
        upstream: &Upstream,
        auth: &WebhookAuth,
        head: &Parts,
        body: Body,
    ) -> Result<HandlePaymentWebhookResponse, Undelivered> {
        let body = read_signed(auth, head, body).await?;
        let message = request::payment_webhook(&head.headers, &body).map_err(|bad: BadWebhook| {
            (self.idempotency_key, self.order_id) = (bad.idempotency_key, bad.order_id);
            Reply::from(bad.fault)
        })?;
        (self.idempotency_key, self.order_id) = (Some(message.idempotency_key.clone()), Some(message.order_id));
        upstream.handle_payment_webhook(&head.headers, message).await.map_err(Undelivered::Failed)
    }

    fn log(&self, why: &Undelivered) {
        let (idempotency_key, order_id) = (self.idempotency_key.as_deref(), self.order_id);
        match why {
            Undelivered::Refused(reply) => {
                warn!(reason = reply.reason(), idempotency_key, order_id, "Payment webhook refused");
            }
            // The server has logged what it refused.
            Undelivered::Failed(CallError::Refused { .. }) => {}
            Undelivered::Failed(failure) => {
                error!(error = %failure, idempotency_key, order_id, "Payment webhook failed");
            }
        }
    }
}

/// Reads the body of a webhook and checks its signature, before anything reads the JSON.
async fn read_signed(auth: &WebhookAuth, head: &Parts, body: Body) -> Result<Vec<u8>, Reply> {
    let body = body::read(&head.headers, body).await?;
    auth.verify(&head.headers, &body, unix_now()).map_err(|cause| {
        debug!(%cause, "Webhook signature not accepted");
        Reply::unauthenticated()
    })?;
    Ok(body)
}

/// Returns the seconds since 1970 by the system clock, or 0 where it shows an earlier time.
fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

//! The client: one call, with its deadline and its repeats.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{
    Extensions, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tracing::debug;

use crate::{
    addresses::{Addresses, Tried},
    builder::{AddMetadata, Builder, ConnectError, show_token},
    error::CallError,
    repeats::{Budget, Repeat, Repeats},
    request_id::new_request_id,
};

/// Tells the server how many attempts of the same call came before, as gRPC's own repeats do.
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// Calls a flashsale service. Clones are cheap and share connections and the budget of repeats.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    deadline: Duration,
}

/// Holds what all clones of a client share.
pub(crate) struct Shared {
    pub(crate) addresses: Addresses,
    pub(crate) budget: Budget,
    pub(crate) repeat: Repeat,
    pub(crate) add_metadata: Option<AddMetadata>,
    pub(crate) token: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// Begins to describe a client of the service at these addresses, such as `http://10.0.0.1:50051`.
    ///
    /// There are 1 to 64 addresses, each a scheme, a host and perhaps a port.
    ///
    /// # Errors
    /// An address can't be called.
    pub fn builder(addresses: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Builder, ConnectError> {
        Builder::new(addresses)
    }

    pub(crate) fn new(shared: Shared, deadline: Duration) -> Self {
        Self { shared: Arc::new(shared), deadline }
    }

    /// Returns a client whose calls may take this long, with all their repeats.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), deadline }
    }

    /// Whether a server says within this time that it serves.
    ///
    /// A question that came back unsent, because the connection was just being renewed, is asked once more.
    pub async fn is_ready(&self, time_max: Duration) -> bool {
        self.says_ready(time_max).await == Some(true)
    }

    /// Says what a server answers within this time: whether it serves. `None`: none has answered.
    pub async fn says_ready(&self, time_max: Duration) -> Option<bool> {
        timeout(time_max, self.ask_ready()).await.unwrap_or(None)
    }

    async fn ask_ready(&self) -> Option<bool> {
        let mut tried = Tried::default();
        for _ in 0..2 {
            let mut client = HealthClient::new(self.shared.addresses.choose(&mut tried));
            let request = HealthCheckRequest { service: String::new() };
            match client.check(request).await.map_err(CallError::from) {
                Ok(answer) => return Some(answer.into_inner().status() == ServingStatus::Serving),
                Err(error @ CallError::NotSent(_)) if !error.had_no_connection() => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Makes up the request id of a wish that has none, so that a repeat may find it done.
    ///
    /// Whichever calls are repeated, one that was refused by REFUSED_STREAM may be done: HAProxy says so of a call that a
    /// server had begun and whose connection then broke.
    pub(crate) fn complete(&self, request_id: &mut Option<String>) {
        request_id.get_or_insert_with(new_request_id);
    }

    /// Sends a call until it has an answer, it can't be repeated, or its time is up.
    ///
    /// The call must be one that may be repeated: what it does twice must be what it does once.
    pub(crate) async fn call<Q: Clone, A, F>(
        &self,
        request: Request<Q>,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, CallError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let Shared { addresses, budget, repeat, .. } = &*self.shared;
        let deadline = Instant::now() + self.deadline;
        let (mut repeats, mut tried, mut attempts) = (Repeats::new(*repeat), Tried::default(), 0_u32);
        budget.count_call();
        loop {
            let channel = addresses.choose(&mut tried);
            let attempt = send(channel, self.attempt(&request, attempts, deadline));
            // The timer of the channel doesn't cover the wait for a connection.
            let error = match timeout_at(deadline, attempt).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => CallError::from(status),
                Err(_) => CallError::TimedOut,
            };
            attempts += 1;
            let Some(rest) = repeats.rest(&error, addresses.has_untried(&tried), budget) else { return Err(error) };
            if Instant::now() + rest >= deadline {
                return Err(error);
            }
            debug!(%error, attempts, rest_seconds = rest.as_secs_f64(), "Call is repeated");
            if !rest.is_zero() {
                sleep(rest).await;
            }
        }
    }

    /// Makes the request of one attempt, whose time is what is left of the call's.
    fn attempt<Q: Clone>(&self, request: &Request<Q>, attempts: u32, deadline: Instant) -> Request<Q> {
        let metadata = request.metadata().clone();
        let mut attempt = Request::from_parts(metadata, Extensions::default(), request.get_ref().clone());
        if let Some(add) = &self.shared.add_metadata {
            add(attempt.metadata_mut());
        }
        if let Some(token) = &self.shared.token {
            show_token(token, attempt.metadata_mut());
        }
        if attempts > 0 {
            attempt.metadata_mut().insert(PREVIOUS_ATTEMPTS, MetadataValue::from(attempts));
        }
        attempt.set_timeout(deadline.saturating_duration_since(Instant::now()));
        attempt
    }
}

/// Takes the part of a response that the service always sends.
pub(crate) fn whole<T>(part: Option<T>) -> Result<T, CallError> {
    part.ok_or_else(|| CallError::Unexplained(Status::internal("the response is incomplete")))
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, budget, repeat, add_metadata: _, token: _ } = self;
        formatter
            .debug_struct("Shared")
            .field("addresses", addresses)
            .field("budget", budget)
            .field("repeat", repeat)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

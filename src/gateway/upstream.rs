//! Calls the server through `flashsale-client`, with a deadline and the caller's trace context on each call.
//!
//! A call that surely never reached the server is repeated at once. Anything else is the sender's to repeat, who is told
//! when.

use std::time::Duration;

use flashsale_client::{Client, Repeat};
use http::{HeaderMap, HeaderName};
use tonic::{Request, metadata::MetadataMap};

use super::server_url::ServerUrl;
use crate::{
    pb::{
        CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, CreateOrderResponse, GetProductRequest,
        GetProductResponse, HandlePaymentWebhookRequest, HandlePaymentWebhookResponse,
    },
    telemetry,
};

pub(super) use flashsale_client::CallError;
pub use flashsale_client::ConnectError;

/// Limits how long the server may take to say whether it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

/// Limits the bytes of a trace header that is passed on. The W3C recommends 512 for a tracestate.
///
/// The server refuses calls with very large headers.
const TRACE_HEADER_BYTES_MAX: usize = 512;
const TRACE_HEADERS: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Calls the server. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client,
    timeout: Duration,
}

impl Upstream {
    /// Connects to a server when it is first called, and again whenever the connection is lost.
    ///
    /// Each call may take `timeout`. A server with `https://` needs a certificate that the system trusts. Must be
    /// called on a tokio runtime.
    ///
    /// # Errors
    /// The certificates that the system trusts can't be read.
    pub fn new(server_url: &ServerUrl, timeout: Duration) -> Result<Self, ConnectError> {
        let builder = Client::builder([server_url.uri().to_string()])?;
        Ok(Self { client: builder.deadline(timeout).repeat(Repeat::NotSent).connect()?, timeout })
    }

    pub(super) async fn get_product(
        &self,
        headers: &HeaderMap,
        message: GetProductRequest,
    ) -> Result<GetProductResponse, CallError> {
        let product = self.client.get_product(request(headers, message)).await?;
        Ok(GetProductResponse { product: Some(product) })
    }

    pub(super) async fn create_hold(
        &self,
        headers: &HeaderMap,
        message: CreateHoldRequest,
    ) -> Result<CreateHoldResponse, CallError> {
        let hold = self.client.create_hold(request(headers, message)).await?;
        Ok(CreateHoldResponse { hold: Some(hold) })
    }

    pub(super) async fn create_order(
        &self,
        headers: &HeaderMap,
        message: CreateOrderRequest,
    ) -> Result<CreateOrderResponse, CallError> {
        let order = self.client.create_order(request(headers, message)).await?;
        Ok(CreateOrderResponse { order: Some(order) })
    }

    pub(super) async fn handle_payment_webhook(
        &self,
        headers: &HeaderMap,
        message: HandlePaymentWebhookRequest,
    ) -> Result<HandlePaymentWebhookResponse, CallError> {
        self.client.handle_payment_webhook(request(headers, message)).await
    }

    /// Whether the server says within a second that it is serving.
    pub(super) async fn is_ready(&self) -> bool {
        self.client.is_ready(READY_TIME_MAX.min(self.timeout)).await
    }
}

/// Makes the request of a call, with the trace context of the span that is current.
fn request<T>(headers: &HeaderMap, message: T) -> Request<T> {
    let mut metadata = trace_headers(headers);
    telemetry::inject_current(&mut metadata);
    let mut request = Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(metadata);
    request
}

/// Returns the headers of the caller's trace context that are passed on.
pub(super) fn trace_headers(headers: &HeaderMap) -> HeaderMap {
    TRACE_HEADERS
        .into_iter()
        .filter_map(|name| {
            let value = headers.get(&name)?;
            let passes = value.len() <= TRACE_HEADER_BYTES_MAX && value.to_str().is_ok();
            passes.then(|| (name, value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests;

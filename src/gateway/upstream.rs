//! Calls the server through `flashsale-client`, with a deadline and the caller's trace context on each call.
//!
//! A call that surely never reached the server is repeated at once. Anything else is the sender's to repeat, who is told
//! when.

use std::time::Duration;

use flashsale_client::{Client, Repeat};
use http::{HeaderMap, HeaderName};
use tonic::{Code, Request, metadata::MetadataMap};

use super::server_url::ServerUrl;
use crate::{
    metrics,
    pb::{
        CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, CreateOrderResponse, GetProductRequest,
        GetProductResponse, HandlePaymentWebhookRequest, HandlePaymentWebhookResponse,
    },
    spans::rpc::ClientCall,
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
    /// Where the server is, for the spans.
    host: String,
    port: Option<u16>,
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
        let uri = server_url.uri();
        let client = Client::builder([uri.to_string()])?.deadline(timeout).repeat(Repeat::NotSent).connect()?;
        Ok(Self { client, timeout, host: uri.host().unwrap_or_default().to_owned(), port: uri.port_u16() })
    }

    pub(super) async fn get_product(
        &self,
        headers: &HeaderMap,
        message: GetProductRequest,
    ) -> Result<GetProductResponse, CallError> {
        let method = "flashsale.v1.FlashSaleService/GetProduct";
        let product =
            self.call(method, headers, message, async |request| self.client.get_product(request).await).await?;
        Ok(GetProductResponse { product: Some(product) })
    }

    pub(super) async fn create_hold(
        &self,
        headers: &HeaderMap,
        message: CreateHoldRequest,
    ) -> Result<CreateHoldResponse, CallError> {
        let method = "flashsale.v1.FlashSaleService/CreateHold";
        let hold = self.call(method, headers, message, async |request| self.client.create_hold(request).await).await?;
        Ok(CreateHoldResponse { hold: Some(hold) })
    }

    pub(super) async fn create_order(
        &self,
        headers: &HeaderMap,
        message: CreateOrderRequest,
    ) -> Result<CreateOrderResponse, CallError> {
        let method = "flashsale.v1.FlashSaleService/CreateOrder";
        let order =
            self.call(method, headers, message, async |request| self.client.create_order(request).await).await?;
        Ok(CreateOrderResponse { order: Some(order) })
    }

    pub(super) async fn handle_payment_webhook(
        &self,
        headers: &HeaderMap,
        message: HandlePaymentWebhookRequest,
    ) -> Result<HandlePaymentWebhookResponse, CallError> {
        let method = "flashsale.v1.PaymentService/HandlePaymentWebhook";
        self.call(method, headers, message, async |request| self.client.handle_payment_webhook(request).await).await
    }

    /// Whether the server says within a second that it is serving.
    pub(super) async fn is_ready(&self) -> bool {
        self.client.is_ready(READY_TIME_MAX.min(self.timeout)).await
    }

    /// Calls a method of the server by `send`, in a span of its own.
    async fn call<M, A>(
        &self,
        method: &'static str,
        headers: &HeaderMap,
        message: M,
        send: impl AsyncFnOnce(Request<M>) -> Result<A, CallError>,
    ) -> Result<A, CallError> {
        let span = ClientCall::start(method, &self.host, self.port);
        let measured = metrics::measure_call_to_server(method);
        let answer = send(request(&span, headers, message)).await;
        let code = answer.as_ref().map_or_else(code_of, |_| Code::Ok) as i32;
        measured.ended(code);
        span.answered(code);
        answer
    }
}

/// Returns the code that stands for a call without a response.
fn code_of(error: &CallError) -> Code {
    match error {
        CallError::Refused(refused) => refused.status().code(),
        CallError::TimedOut => Code::DeadlineExceeded,
        CallError::NotSent(_) | CallError::Broken(_) => Code::Unavailable,
        CallError::Unexplained(status) => status.code(),
    }
}

/// Makes the request of a call, with the trace context of its span.
fn request<T>(span: &ClientCall, headers: &HeaderMap, message: T) -> Request<T> {
    let mut metadata = trace_headers(headers);
    span.inject(&mut metadata);
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

//! Calls the server over one HTTP/2 connection, with a deadline and the caller's trace context on each call.

use std::{error::Error, fmt, time::Duration};

use http::{HeaderMap, HeaderName};
use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status, TimeoutExpired,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::{ErrorInfo, StatusExt};

use super::server_url::ServerUrl;
use crate::{
    pb::{
        CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, CreateOrderResponse, GetProductRequest,
        GetProductResponse, HandlePaymentWebhookRequest, HandlePaymentWebhookResponse,
        flash_sale_service_client::FlashSaleServiceClient, payment_service_client::PaymentServiceClient,
    },
    spans::rpc::ClientCall,
};

/// Names the domain of the errors that the server makes.
const ERROR_DOMAIN: &str = "flashsale";

/// Limits how long connecting may take. It is also never more than half of a call's time.
///
/// So a caller learns that there is no connection, rather than that its time is up.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Says how often an idle connection is probed. With [`PROBE_TIME_MAX`], a server that vanished is noticed within 15 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Limits how long a probe may go without an answer before the connection is dropped.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
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
    channel: Channel,
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
    pub fn new(server_url: &ServerUrl, timeout: Duration) -> Result<Self, NoCertificates> {
        let mut endpoint = Endpoint::from(server_url.uri());
        if server_url.is_https() {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(NoCertificates)?;
        }
        let channel = endpoint
            .connect_timeout(CONNECT_TIME_MAX.min(timeout / 2))
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIME_MAX)
            .keep_alive_while_idle(true)
            // The HTTP/2 library counts an answer to a call that was given up as a fault of the server. With its
            // default it would close the connection, with all calls on it, at the 1,024th such answer.
            .http2_max_local_error_reset_streams(None)
            .connect_lazy();
        let uri = server_url.uri();
        Ok(Self { channel, timeout, host: uri.host().unwrap_or_default().to_owned(), port: uri.port_u16() })
    }

    pub(super) async fn get_product(
        &self,
        headers: &HeaderMap,
        message: GetProductRequest,
    ) -> Result<GetProductResponse, CallError> {
        let mut client = FlashSaleServiceClient::new(self.channel.clone());
        let method = "flashsale.v1.FlashSaleService/GetProduct";
        self.call(method, headers, message, async |request| client.get_product(request).await).await
    }

    pub(super) async fn create_hold(
        &self,
        headers: &HeaderMap,
        message: CreateHoldRequest,
    ) -> Result<CreateHoldResponse, CallError> {
        let mut client = FlashSaleServiceClient::new(self.channel.clone());
        let method = "flashsale.v1.FlashSaleService/CreateHold";
        self.call(method, headers, message, async |request| client.create_hold(request).await).await
    }

    pub(super) async fn create_order(
        &self,
        headers: &HeaderMap,
        message: CreateOrderRequest,
    ) -> Result<CreateOrderResponse, CallError> {
        let mut client = FlashSaleServiceClient::new(self.channel.clone());
        let method = "flashsale.v1.FlashSaleService/CreateOrder";
        self.call(method, headers, message, async |request| client.create_order(request).await).await
    }

    pub(super) async fn handle_payment_webhook(
        &self,
        headers: &HeaderMap,
        message: HandlePaymentWebhookRequest,
    ) -> Result<HandlePaymentWebhookResponse, CallError> {
        let mut client = PaymentServiceClient::new(self.channel.clone());
        let method = "flashsale.v1.PaymentService/HandlePaymentWebhook";
        self.call(method, headers, message, async |request| client.handle_payment_webhook(request).await).await
    }

    /// Whether the server says within a second that it is serving.
    pub(super) async fn is_ready(&self) -> bool {
        let mut client = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: String::new() };
        match timeout(READY_TIME_MAX.min(self.timeout), client.check(request)).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Calls a method of the server by `send`, in a span of its own, until the deadline.
    ///
    /// The timer of the channel doesn't cover the wait for a connection.
    async fn call<M, T>(
        &self,
        method: &'static str,
        headers: &HeaderMap,
        message: M,
        send: impl AsyncFnOnce(Request<M>) -> Result<Response<T>, Status>,
    ) -> Result<T, CallError> {
        let span = ClientCall::start(method, &self.host, self.port);
        let request = self.request(&span, headers, message);
        match timeout(self.timeout, send(request)).await {
            Ok(Ok(response)) => {
                span.answered(Code::Ok as i32);
                Ok(response.into_inner())
            }
            Ok(Err(status)) => {
                span.answered(status.code() as i32);
                Err(CallError::from(status))
            }
            Err(_) => {
                span.answered(Code::DeadlineExceeded as i32);
                Err(CallError::TimedOut)
            }
        }
    }

    fn request<T>(&self, span: &ClientCall, headers: &HeaderMap, message: T) -> Request<T> {
        let mut metadata = trace_headers(headers);
        span.inject(&mut metadata);
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(metadata);
        request.set_timeout(self.timeout);
        request
    }
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

/// Says why a call has no response.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The server refused, and said why.
    #[error("{}: {}", .info.reason, .status.message())]
    Refused {
        /// The server's status.
        status: Status,
        /// The reason and its details, which the status holds.
        info: ErrorInfo,
    },
    /// The time was up. Nobody knows whether the server did anything.
    #[error("the server did not answer in time")]
    TimedOut,
    /// There is no connection, or it broke. Nobody knows whether the server did anything.
    #[error("the server can't be reached: {}{}", .0.message(), RootCause(.0))]
    Unreachable(Status),
    /// The server never gives this answer. It is a bug, or another program answers at its address.
    #[error("unexpected answer of the server: {:?}: {}", .0.code(), .0.message())]
    Unexplained(Status),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        if let Some(info) =
            status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN && !info.reason.is_empty())
        {
            return Self::Refused { status, info };
        }
        // A status that was made in this program has a source. A status from the server has none.
        let made_here = status.source().is_some();
        match status.code() {
            Code::DeadlineExceeded => Self::TimedOut,
            Code::Cancelled if !made_here || has_expired(&status) => Self::TimedOut,
            Code::Unavailable => Self::Unreachable(status),
            _ if made_here => Self::Unreachable(status),
            _ => Self::Unexplained(status),
        }
    }
}

/// Shows the innermost cause of a status that was made in this program. The outer message says little.
struct RootCause<'a>(&'a Status);

impl fmt::Display for RootCause<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match causes(self.0).last() {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// Whether the timer of the channel ended the call.
fn has_expired(status: &Status) -> bool {
    causes(status).any(|error| error.is::<TimeoutExpired>())
}

/// Returns the causes of a status, the innermost last.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error: &&(dyn Error + 'static)| (*error).source())
}

/// Says that a server can't be called over TLS.
#[derive(Debug, thiserror::Error)]
#[error("the certificates that the system trusts can't be read")]
pub struct NoCertificates(#[source] tonic::transport::Error);

#[cfg(test)]
mod tests;

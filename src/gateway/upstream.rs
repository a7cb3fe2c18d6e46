//! The way to the server: one lazily made HTTP/2 connection, a deadline on each call, and the caller's trace context.

use std::{error::Error, fmt, future::Future, time::Duration};

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
    telemetry,
};

/// The domain of the server's own errors.
const ERROR_DOMAIN: &str = "flashsale";

/// How long connecting may take at the most, and never more than half of a call's time: so a caller learns that there
/// is no connection rather than that time is up. Calls that queue for the connection have their own deadline, too.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// An idle connection is probed this often, and dropped when the probe isn't answered: a server that vanished
/// without a word is noticed within 15 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to say whether it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes of a trace header that is passed on: a tracestate has 512 by the W3C's recommendation, and the server refuses
/// calls with very large headers.
const TRACE_HEADER_BYTES_MAX: usize = 512;
const TRACE_HEADERS: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// The server, as the gateway sees it. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Upstream {
    channel: Channel,
    timeout: Duration,
}

impl Upstream {
    /// Connects to a server when it is first called, and again whenever the connection is lost.
    ///
    /// Each call may take `timeout`. A server with `https://` needs a certificate that the system trusts. Must be called
    /// on a tokio runtime.
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
            // Answers to calls that were given up meanwhile. The HTTP/2 library takes a late one for a fault of the
            // server's, and would close the connection, with all calls on it, at the 1,024th since it was made.
            .http2_max_local_error_reset_streams(None)
            .connect_lazy();
        Ok(Self { channel, timeout })
    }

    pub(super) async fn get_product(
        &self,
        headers: &HeaderMap,
        message: GetProductRequest,
    ) -> Result<GetProductResponse, CallError> {
        let mut client = FlashSaleServiceClient::new(self.channel.clone());
        let request = self.request(headers, message);
        self.within_deadline(client.get_product(request)).await
    }

    pub(super) async fn create_hold(
        &self,
        headers: &HeaderMap,
        message: CreateHoldRequest,
    ) -> Result<CreateHoldResponse, CallError> {
        let mut client = FlashSaleServiceClient::new(self.channel.clone());
        let request = self.request(headers, message);
        self.within_deadline(client.create_hold(request)).await
    }

    pub(super) async fn create_order(
        &self,
        headers: &HeaderMap,
        message: CreateOrderRequest,
    ) -> Result<CreateOrderResponse, CallError> {
        let mut client = FlashSaleServiceClient::new(self.channel.clone());
        let request = self.request(headers, message);
        self.within_deadline(client.create_order(request)).await
    }

    pub(super) async fn handle_payment_webhook(
        &self,
        headers: &HeaderMap,
        message: HandlePaymentWebhookRequest,
    ) -> Result<HandlePaymentWebhookResponse, CallError> {
        let mut client = PaymentServiceClient::new(self.channel.clone());
        let request = self.request(headers, message);
        self.within_deadline(client.handle_payment_webhook(request)).await
    }

    /// Whether the server says that it is serving, within a second.
    pub(super) async fn is_ready(&self) -> bool {
        let mut client = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest { service: String::new() };
        match timeout(READY_TIME_MAX.min(self.timeout), client.check(request)).await {
            Ok(Ok(answer)) => answer.into_inner().status() == ServingStatus::Serving,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn request<T>(&self, headers: &HeaderMap, message: T) -> Request<T> {
        let mut metadata = trace_headers(headers);
        telemetry::inject_current(&mut metadata);
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(metadata);
        request.set_timeout(self.timeout);
        request
    }

    /// The channel's own timer starts when there is a connection; this one covers the wait for it.
    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        match timeout(self.timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(CallError::from(status)),
            Err(_) => Err(CallError::TimedOut),
        }
    }
}

/// The caller's trace context, as far as it is passed on.
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

/// Why a call has no response.
#[derive(Clone, Debug)]
pub(super) enum CallError {
    /// The server refused, and said why.
    Refused {
        /// Its status.
        status: Status,
        /// The reason in it, and what belongs to the reason.
        info: ErrorInfo,
    },
    /// The time was up. Whether the server did anything is unknown.
    TimedOut,
    /// There is no connection, or it broke. Whether the server did anything is unknown.
    Unreachable(Status),
    /// An answer that this server doesn't give: a bug, or something else answers at its address.
    Unexplained(Status),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        if let Some(info) =
            status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN && !info.reason.is_empty())
        {
            return Self::Refused { status, info };
        }
        // A status made here has a source, one that came over the wire has none.
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

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, info } => {
                write!(formatter, "{}: {}", info.reason, status.message())
            }
            Self::TimedOut => formatter.write_str("the server did not answer in time"),
            Self::Unreachable(status) => {
                write!(formatter, "the server can't be reached: {}{}", status.message(), RootCause(status))
            }
            Self::Unexplained(status) => {
                write!(formatter, "unexpected answer of the server: {:?}: {}", status.code(), status.message())
            }
        }
    }
}

/// The innermost cause of a status made here: a transport's own message says little.
struct RootCause<'a>(&'a Status);

impl fmt::Display for RootCause<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match causes(self.0).last() {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// Whether the channel's own timer ended the call.
fn has_expired(status: &Status) -> bool {
    causes(status).any(|error| error.is::<TimeoutExpired>())
}

/// What led to a status, the innermost cause last.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error: &&(dyn Error + 'static)| (*error).source())
}

/// Says that a server can't be called over TLS.
#[derive(Debug, thiserror::Error)]
#[error("the certificates that the system trusts can't be read")]
pub struct NoCertificates(#[source] tonic::transport::Error);

#[cfg(test)]
mod tests;

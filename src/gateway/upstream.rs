//! Calls the server through `flashsale-client`, with a deadline and the caller's trace context on each call.
//!
//! A call that surely never reached the server is repeated at once. Anything else is the sender's to repeat, who is told
//! when.
//!
//! Where the server refuses the gateway's own certificate or token, the caller is not at fault: it is told to try again,
//! and an error in the log names the settings.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_client::{Client, Repeat};
use http::{HeaderMap, HeaderName};
use secrecy::ExposeSecret;
use tonic::{Code, Request, metadata::MetadataMap};
use tracing::{error, info};

use super::{credentials::Credentials, server_url::ServerUrl};
use crate::{
    metrics,
    pb::{
        CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, CreateOrderResponse, GetProductRequest,
        GetProductResponse, HandlePaymentWebhookRequest, HandlePaymentWebhookResponse,
    },
    reload::Current,
    seldom::Seldom,
    spans::rpc::ClientCall,
};

pub(super) use flashsale_client::CallError;
pub use flashsale_client::ConnectError;

/// Limits how long the server may take to say whether it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(1);

/// Says how often the log tells that the server refuses the gateway.
const REFUSED_EVERY: Duration = Duration::from_secs(10);

/// Limits the bytes of a trace header that is passed on. The W3C recommends 512 for a tracestate.
///
/// The server refuses calls with very large headers.
const TRACE_HEADER_BYTES_MAX: usize = 512;
const TRACE_HEADERS: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Calls the server. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Upstream {
    credentials: Current<Credentials>,
    connected: Arc<Mutex<Connected>>,
    url: ServerUrl,
    timeout: Duration,
    /// Where the server is, for the spans.
    host: String,
    port: Option<u16>,
}

/// Holds the client that makes new calls, and what it was made with.
#[derive(Debug)]
struct Connected {
    client: Client,
    credentials: Arc<Credentials>,
}

impl Upstream {
    /// Connects to a server when it is first called, and again whenever the connection is lost.
    ///
    /// Where the credentials change, new calls take a new connection. Calls under way end on the old one. Each call may
    /// take `timeout`. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The certificates can't be used, or those that the system trusts can't be read. A token would be sent in plain
    /// text.
    pub fn new(
        server_url: &ServerUrl,
        credentials: Current<Credentials>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let (uri, first) = (server_url.uri(), credentials.get());
        let client = connect(server_url, &first, timeout)?;
        Ok(Self {
            credentials,
            connected: Arc::new(Mutex::new(Connected { client, credentials: first })),
            url: server_url.clone(),
            timeout,
            host: uri.host().unwrap_or_default().to_owned(),
            port: uri.port_u16(),
        })
    }

    /// Returns the client for a new call.
    fn client(&self) -> Client {
        let now = self.credentials.get();
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&now, &connected.credentials) {
            if *now != *connected.credentials {
                match connect(&self.url, &now, self.timeout) {
                    Ok(client) => {
                        connected.client = client;
                        info!("The server is called over a new connection, with other certificates or another token");
                    }
                    // They were checked when they were read, so this is the system's own certificates at fault.
                    Err(error) => error!(%error, "The server is called as before, since there is no new client"),
                }
            }
            connected.credentials = now;
        }
        connected.client.clone()
    }

    pub(super) async fn get_product(
        &self,
        headers: &HeaderMap,
        message: GetProductRequest,
    ) -> Result<GetProductResponse, CallError> {
        let method = "flashsale.v1.FlashSaleService/GetProduct";
        let product =
            self.call(method, headers, message, async |client, request| client.get_product(request).await).await?;
        Ok(GetProductResponse { product: Some(product) })
    }

    pub(super) async fn create_hold(
        &self,
        headers: &HeaderMap,
        message: CreateHoldRequest,
    ) -> Result<CreateHoldResponse, CallError> {
        let method = "flashsale.v1.FlashSaleService/CreateHold";
        let hold =
            self.call(method, headers, message, async |client, request| client.create_hold(request).await).await?;
        Ok(CreateHoldResponse { hold: Some(hold) })
    }

    pub(super) async fn create_order(
        &self,
        headers: &HeaderMap,
        message: CreateOrderRequest,
    ) -> Result<CreateOrderResponse, CallError> {
        let method = "flashsale.v1.FlashSaleService/CreateOrder";
        let order =
            self.call(method, headers, message, async |client, request| client.create_order(request).await).await?;
        Ok(CreateOrderResponse { order: Some(order) })
    }

    pub(super) async fn handle_payment_webhook(
        &self,
        headers: &HeaderMap,
        message: HandlePaymentWebhookRequest,
    ) -> Result<HandlePaymentWebhookResponse, CallError> {
        let method = "flashsale.v1.PaymentService/HandlePaymentWebhook";
        self.call(method, headers, message, async |client, request| client.handle_payment_webhook(request).await).await
    }

    /// Says what the server answers within a second: whether it is serving. `None`: it hasn't answered.
    pub(super) async fn says_ready(&self) -> Option<bool> {
        self.client().says_ready(READY_TIME_MAX.min(self.timeout)).await
    }

    /// Calls a method of the server by `send`, in a span of its own.
    async fn call<M, A>(
        &self,
        method: &'static str,
        headers: &HeaderMap,
        message: M,
        send: impl AsyncFnOnce(Client, Request<M>) -> Result<A, CallError>,
    ) -> Result<A, CallError> {
        let span = ClientCall::start(method, &self.host, self.port);
        let measured = metrics::measure_call_to_server(method);
        let answer = send(self.client(), request(&span, headers, message)).await;
        let code = answer.as_ref().map_or_else(code_of, |_| Code::Ok) as i32;
        measured.ended(code);
        span.answered(code);
        answer.map_err(not_the_callers)
    }
}

fn connect(url: &ServerUrl, credentials: &Credentials, timeout: Duration) -> Result<Client, ConnectError> {
    let mut builder = Client::builder([url.uri().to_string()])?.deadline(timeout).repeat(Repeat::NotSent);
    if let Some(pem) = &credentials.authorities {
        builder = builder.ca(pem);
    }
    if let Some((chain_pem, key_pem)) = &credentials.identity {
        builder = builder.identity(chain_pem, key_pem.expose_secret());
    }
    if let Some(token) = &credentials.token {
        builder = builder.token(token.expose_secret())?;
    }
    builder.connect()
}

/// Takes from a refusal of the gateway itself the words that are for the gateway alone, and logs it.
///
/// The gateway's callers don't call the server, so the server can't mean them.
fn not_the_callers(failure: CallError) -> CallError {
    let code = code_of(&failure);
    let settings = match code {
        Code::Unauthenticated => {
            "the server doesn't know this gateway: see FLASHSALE_SERVER_TOKEN, FLASHSALE_SERVER_CERT here, and \
            FLASHSALE_PRINCIPALS_FILE of the server"
        }
        Code::PermissionDenied => {
            "this gateway's principal may not call this method: see its roles in FLASHSALE_PRINCIPALS_FILE of the server"
        }
        Code::Unimplemented => {
            "the server doesn't serve this method: see whether FLASHSALE_SERVER_URL leads to the right server, and its \
            version"
        }
        _ => return failure,
    };
    static REFUSED: Seldom = Seldom::every(REFUSED_EVERY);
    if REFUSED.is_time() {
        error!(error = settings, "The server refuses this gateway");
    }
    let message = "the server refuses this gateway";
    CallError::Unexplained(tonic::Status::new(code, message))
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

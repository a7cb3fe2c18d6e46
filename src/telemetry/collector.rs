//! The collector of spans, by OTLP over gRPC or HTTP.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_sdk::Resource;
use tokio::time::{sleep, timeout};

use super::{
    encode,
    otlp::{Destination, Protocol},
};
use crate::{rpc_codes, spans};

/// Limits the bytes of an answer, of which nobody reads much.
const ANSWER_MAX: usize = 64 * 1024;
/// Says how often a batch is sent at the most, while its time isn't up.
const ATTEMPTS_MAX: u32 = 4;
/// Says how long to rest before the second attempt. Each rest is twice as long as the one before.
const REST_FIRST: Duration = Duration::from_millis(100);
/// Lists the gRPC codes after which a batch is sent again: CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED,
/// OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
const AGAIN_GRPC: [u16; 7] = [1, 4, 8, 10, 11, 14, 15];
/// Lists the HTTP statuses after which a batch is sent again.
const AGAIN_HTTP: [u16; 4] = [429, 502, 503, 504];

/// Sends batches of spans.
#[derive(Debug)]
pub(super) struct Collector {
    client: AnyClient,
    protocol: Protocol,
    url: Uri,
    headers: HeaderMap,
    timeout: Duration,
    /// What comes before the spans and after them, which is always the same.
    before: Vec<u8>,
    after: Vec<u8>,
    resource: Vec<u8>,
}

#[derive(Debug)]
enum AnyClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Says why an attempt failed, and whether another one may succeed.
struct Failed {
    error: String,
    is_temporary: bool,
}

impl Failed {
    fn broken(error: impl Display) -> Self {
        Self { error: error.to_string(), is_temporary: true }
    }
}

impl Collector {
    /// Connects when the first batch is sent.
    ///
    /// # Errors
    /// The certificates that the system trusts can't be read.
    pub(super) fn new(destination: &Destination, resource: &Resource) -> Result<Self, String> {
        let is_grpc = destination.protocol == Protocol::Grpc;
        let mut connector = HttpConnector::new();
        // A batch is larger than what may be on its way at once. Without this, each part of it waits for 40 ms.
        connector.set_nodelay(true);
        let client = if destination.is_https {
            connector.enforce_http(false);
            let tls = HttpsConnectorBuilder::new().with_native_roots();
            let tls = tls.map_err(|error| format!("the system's certificates can't be read: {error}"))?.https_only();
            let connector = if is_grpc {
                tls.enable_http2().wrap_connector(connector)
            } else {
                tls.enable_http1().wrap_connector(connector)
            };
            AnyClient::Tls(Client::builder(TokioExecutor::new()).http2_only(is_grpc).build(connector))
        } else {
            AnyClient::Plain(Client::builder(TokioExecutor::new()).http2_only(is_grpc).build(connector))
        };
        let mut headers = destination.headers.clone();
        let content_type = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("flashsale/", env!("CARGO_PKG_VERSION"))));
        if is_grpc {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        Ok(Self {
            client,
            protocol: destination.protocol,
            url: destination.url.clone(),
            headers,
            timeout: destination.timeout,
            before: encode::scope(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            after: encode::schema_url(spans::SCHEMA_URL),
            resource: encode::resource(resource),
        })
    }

    /// Sends spans, again where that may help, until the collector's time is up.
    ///
    /// # Errors
    /// The last attempt's.
    pub(super) async fn send(&self, spans: &[u8]) -> Result<(), String> {
        let body = Bytes::from(self.body(spans));
        let until = Instant::now() + self.timeout;
        let mut rest = REST_FIRST;
        let mut attempts = 1;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let late = |_elapsed| Err(Failed::broken("the collector did not answer in time"));
            let failed = match timeout(left, self.attempt(body.clone())).await.unwrap_or_else(late) {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            if !failed.is_temporary || attempts == ATTEMPTS_MAX || Instant::now() + rest >= until {
                return Err(failed.error);
            }
            sleep(rest).await;
            rest *= 2;
            attempts += 1;
        }
    }

    fn body(&self, spans: &[u8]) -> Vec<u8> {
        let message = encode::request(&self.resource, &[&self.before, spans, &self.after]);
        match self.protocol {
            Protocol::HttpProtobuf => message,
            Protocol::Grpc => {
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                [&[0][..], &length.to_be_bytes(), &message].concat()
            }
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<(), Failed> {
        let mut request = Request::post(self.url.clone()).body(Full::new(body)).map_err(Failed::broken)?;
        *request.headers_mut() = self.headers.clone();
        let answer = match &self.client {
            AnyClient::Plain(client) => client.request(request).await,
            AnyClient::Tls(client) => client.request(request).await,
        };
        let answer = answer.map_err(|error| Failed::broken(with_cause(&error)))?;
        match self.protocol {
            Protocol::HttpProtobuf => http_result(answer).await,
            Protocol::Grpc => grpc_result(answer).await,
        }
    }
}

async fn http_result(answer: Response<Incoming>) -> Result<(), Failed> {
    let status = answer.status();
    // The connection can be used again only when the answer was read.
    let _read = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    if status.is_success() {
        return Ok(());
    }
    let is_temporary = AGAIN_HTTP.contains(&status.as_u16());
    Err(Failed { error: format!("the collector answered {status}"), is_temporary })
}

async fn grpc_result(answer: Response<Incoming>) -> Result<(), Failed> {
    let (head, body) = answer.into_parts();
    let read = Limited::new(body, ANSWER_MAX).collect().await.map_err(Failed::broken)?;
    let code = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse::<u16>().ok();
    match code(&head.headers).or_else(|| code(read.trailers()?)) {
        Some(0) => Ok(()),
        Some(code) => {
            let error = format!("the collector answered {}", rpc_codes::name(code.into()));
            Err(Failed { error, is_temporary: AGAIN_GRPC.contains(&code) })
        }
        None => {
            let error = format!("the collector's answer is none of gRPC: {}", head.status);
            Err(Failed { error, is_temporary: AGAIN_HTTP.contains(&head.status.as_u16()) })
        }
    }
}

/// Returns an error's text with its innermost cause. The outer text says little.
fn with_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

//! The HTTP gateway: it turns JSON into gRPC for the server, and back. It knows only the clients of the proto.
//!
//! | route | request | success |
//! |---|---|---|
//! | GET /api/products/{id} | | 200 `{"id":1,"name":"…","price_cents":1000,"available_stock":95}` |
//! | POST /api/holds | `{"product_id":1,"qty":5}`, optional `buyer_id` | 201 `{"hold_id":123,"expires_at":"2025-01-27T12:32:00+00:00"}` |
//! | POST /api/orders | `{"hold_id":123}` | 201 `{"order_id":456,"status":"pending"}` |
//! | POST /api/payments/webhook | `{"idempotency_key":"…","order_id":456,"status":"success"}`, optional `amount_cents`, `payment_id` | 200 `{"order_id":456,"order_status":"paid","idempotency_key":"…"}`, and `"refund_required":true` where it is |
//! | POST /api/payments/stripe | an event of Stripe | 200 as above, or `{"ignored":true,"message":"…"}` |
//! | GET /healthz | | 200 `{"status":"ok"}`, always |
//! | GET /readyz | | 200 `{"status":"ready"}`, or 503 while the server can't be reached or isn't ready |
//! | GET /openapi.json | | 200, the description of all routes: `docs/openapi.yaml` as JSON |
//!
//! Holds and orders take the header `Idempotency-Key`, which becomes `request_id`. HEAD works wherever GET works. The
//! types of the fields are in `request`, the refusals in `reply`, and the signatures of webhooks in `signature`.
//!
//! [`Routes`] are those that a gateway serves. A provider's route is served only where its events can be believed.
//!
//! Refusals that have nothing to do with the sale have the same JSON shape: 400 BAD_JSON and BAD_REQUEST (`framing`), 404
//! ROUTE_NOT_FOUND, 405 METHOD_NOT_ALLOWED, 408 REQUEST_TIMEOUT (a body that takes longer than 10 s), 413 TOO_LARGE (more
//! than 64 KiB) and 415 UNSUPPORTED_MEDIA_TYPE. The HTTP library itself answers bytes that aren't HTTP, and heads of
//! more than 16 KiB, without a body: 400 or 431. A connection without a byte for its first 10 s is closed, and so is one
//! without the head of its next request within 75 s.

mod answer;
mod body;
mod credentials;
mod framing;
#[cfg(test)]
mod fuzz;
mod guard;
mod readiness;
mod reply;
mod request;
mod routes;
mod server_url;
mod signature;
mod upstream;
mod webhook;

use std::{future::Future, io, time::Duration};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    access::Access,
    listener::{self, CALLS, Limits, Listener, Protocol},
    reload::Current,
};

pub use self::{
    credentials::Credentials,
    readiness::Readiness,
    server_url::{ServerUrl, ServerUrlError},
    signature::{
        standard::{WebhookAuth, WebhookSecret, WebhookSecretError},
        stripe::{StripeSecret, StripeSecretError},
    },
    upstream::{ConnectError, Upstream},
};

/// Limits how long requests may go on after the shutdown has begun: more than twice the default time limit of a call.
///
/// With 4 s before it and 7 s more for the last spans and log lines, a shutdown takes less than the 25 s that an
/// orchestrator is promised.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(12);

/// Limits how long the head of a request may take, and how long an idle connection stays open.
///
/// Load balancers commonly close an idle connection after 60 s. If it were closed here first, they might just be
/// sending a request on it.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);

/// Holds how long peers may take.
#[derive(Debug, Clone, Copy)]
struct TimeLimits {
    head_time_max: Duration,
    drain_time_max: Duration,
}

/// Names the routes that a gateway serves beside its probes and its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Routes {
    /// Those on which payment providers deliver events.
    Webhook,
    /// Those that the shop calls.
    Shop,
    /// Both.
    All,
}

impl Routes {
    /// Whether the shop's routes are among them.
    pub fn has_shop(self) -> bool {
        matches!(self, Self::Shop | Self::All)
    }

    /// Whether the payment providers' routes are among them.
    pub fn has_webhooks(self) -> bool {
        matches!(self, Self::Webhook | Self::All)
    }
}

/// Says what a gateway serves, and whom it believes. What isn't served is 404, like any unknown path.
#[derive(Clone, Debug)]
pub struct Served {
    /// Who may call the shop's routes. `None`: they aren't served.
    pub shop: Option<Access>,
    /// Whose payment events are taken. New secrets may come while the gateway runs, but no new kinds of them.
    pub senders: Current<EventSenders>,
}

/// Says whose payment events are believed.
#[derive(Clone, Debug, Default)]
pub struct EventSenders {
    /// Which events POST /api/payments/webhook takes. `None`: it isn't served.
    pub webhook: Option<WebhookAuth>,
    /// The secrets of the endpoint at Stripe. Without any, POST /api/payments/stripe isn't served.
    pub stripe: Vec<StripeSecret>,
}

/// Serves until `shutdown`. Then `readiness` says no, and after the drain delay connections end with their requests.
///
/// No more connections are accepted then, and requests under way have 12 s to finish.
///
/// # Errors
/// The listener has no address.
pub async fn serve(
    listener: impl Into<Listener>,
    upstream: Upstream,
    served: Served,
    limits: Limits,
    readiness: Readiness,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    if served.shop.as_ref().is_some_and(Access::is_for_nobody) {
        warn!("The file of principals has nobody: no request for the shop's routes is let in");
    }
    let stop = async {
        shutdown.await;
        readiness.leave();
        sleep(limits.drain_delay).await;
    };
    let times = TimeLimits { head_time_max: HEAD_TIME_MAX, drain_time_max: DRAIN_TIME_MAX };
    let routes = routes::router(upstream, served, readiness.clone());
    serve_within(times, listener, routes, limits, stop).await
}

async fn serve_within(
    times: TimeLimits,
    listener: impl Into<Listener>,
    routes: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = listener.into();
    info!(address = %listener.tcp.local_addr()?, "Listening");
    let protocol = Protocol::web(times.head_time_max, &CALLS);
    let routes = TowerToHyperService::new(routes);
    // Without a limit, a peer with a half-sent request could delay the shutdown for ever.
    if !listener::serve(listener, protocol, limits, routes, stop, times.drain_time_max).await {
        let seconds = times.drain_time_max.as_secs();
        warn!(seconds, "Requests were still under way when the time to drain was over");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Instant};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::oneshot,
        task::JoinHandle,
        time::timeout,
    };

    use super::*;
    use crate::reload::Current;

    /// Exceeds the time that any test waits.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);
    /// Begins a request, without the rest of its body.
    const HALF: &[u8] = b"POST /api/holds HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";

    /// Holds a gateway without a server behind it.
    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<io::Result<()>>,
    }

    async fn serve_with(times: TimeLimits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Upstream::new(
            &"http://127.0.0.1:1".parse().unwrap(),
            Current::fixed(Credentials::default()),
            Duration::from_secs(5),
        )
        .unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let senders = EventSenders { webhook: Some(WebhookAuth::Unsigned), stripe: Vec::new() };
        let served = Served { shop: Some(Access::for_everybody()), senders: Current::fixed(senders) };
        let routes = routes::router(upstream.clone(), served, Readiness::new(upstream));
        let serving = tokio::spawn(serve_within(times, listener, routes, Limits::default(), shutdown));
        Running { address, stop, serving }
    }

    impl Running {
        /// Connects and sends these bytes.
        async fn sent(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }

        /// Calls /healthz, which proves that all earlier connections were accepted.
        async fn healthz(&self) -> Result<u16, reqwest::Error> {
            Ok(reqwest::get(format!("http://{}/healthz", self.address)).await?.status().as_u16())
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            timeout(LONG, self.serving).await.expect("the drain must be bounded").unwrap().unwrap();
        }
    }

    /// Returns all bytes until the connection is closed.
    async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset closes it, too.
        let _closed = timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("it must be closed");
        bytes
    }

    #[tokio::test]
    async fn a_half_sent_request_does_not_hold_up_the_shutdown() {
        let served = serve_with(TimeLimits { head_time_max: LONG, drain_time_max: SHORT }).await;
        let address = served.address;
        let _silent = served.sent(b"").await;
        let _half_sent = served.sent(HALF).await;
        assert_eq!(served.healthz().await.unwrap(), 200);

        let begun = Instant::now();
        served.stop().await;
        assert!(begun.elapsed() >= SHORT);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn silent_and_idle_connections_do_not_hold_up_the_shutdown_at_all() {
        let served = serve_with(TimeLimits { head_time_max: LONG, drain_time_max: LONG }).await;
        let _silent = served.sent(b"").await;
        let mut idle = served.sent(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
        let begun = Instant::now();
        served.stop().await;
        assert!(begun.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_connection_without_a_head_is_closed_in_time_and_one_with_a_request_is_not() {
        let served = serve_with(TimeLimits { head_time_max: SHORT, drain_time_max: LONG }).await;
        let mut half_sent = served.sent(HALF).await;
        let begun = Instant::now();
        // The last text may begin HTTP/1.1 or HTTP/2. The text before it is HTTP/2 without a request.
        for bytes in [&b""[..], b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"P"] {
            let began = Instant::now();
            until_closed(&mut served.sent(bytes).await).await;
            assert!(began.elapsed() >= SHORT, "{bytes:?}");
        }
        let mut idle = served.sent(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = until_closed(&mut idle).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");

        assert!(begun.elapsed() > 4 * SHORT);
        half_sent.write_all(b"}       ").await.unwrap();
        let mut answer = [0; 12];
        half_sent.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 415");
        drop(half_sent);
        served.stop().await;
    }
}

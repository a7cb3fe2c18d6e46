//! The HTTP gateway: JSON in and out, gRPC to the server, nothing else. It knows the proto's clients only.
//!
//! | route | request | success |
//! |---|---|---|
//! | GET /api/products/{id} | | 200 `{"id":1,"name":"…","price_cents":1000,"available_stock":95}` |
//! | POST /api/holds | `{"product_id":1,"qty":5}`, optional `buyer_id` | 201 `{"hold_id":123,"expires_at":"2025-01-27T12:32:00+00:00"}` |
//! | POST /api/orders | `{"hold_id":123}` | 201 `{"order_id":456,"status":"pending"}` |
//! | POST /api/payments/webhook | `{"idempotency_key":"…","order_id":456,"status":"success"}`, optional `amount_cents` | 200 `{"order_id":456,"order_status":"paid","idempotency_key":"…"}`, and `"refund_required":true` where it is |
//! | GET /healthz | | 200 `{"status":"ok"}`, always |
//! | GET /readyz | | 200 `{"status":"ready"}`, or 503 while the server can't be reached or isn't ready |
//!
//! Holds and orders take the header `Idempotency-Key`, which becomes `request_id`. HEAD goes wherever GET does. The
//! bounds of the fields are in `request`, the refusals in `reply`, the signatures of webhooks in `signature`.
//!
//! A refusal that has nothing to do with the sale has the same JSON shape: 400 BAD_JSON, 404 ROUTE_NOT_FOUND, 405
//! METHOD_NOT_ALLOWED, 408 REQUEST_TIMEOUT (a body that takes longer than 10 s), 413 TOO_LARGE (more than 64 KiB), 415
//! UNSUPPORTED_MEDIA_TYPE. Only what isn't HTTP at all, or has a head too large for the HTTP library, is answered by that
//! library, without a body: 400, 414 or 431.

mod answer;
mod body;
mod reply;
mod request;
mod routes;
mod signature;
mod upstream;

use std::{future::Future, io, time::Duration};

use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use tracing::{info, warn};

pub use self::{
    signature::{WebhookAuth, WebhookSecret, WebhookSecretError},
    upstream::{ServerUrlError, Upstream},
};

/// How long requests may go on after the shutdown has begun. With the 7 s for the last spans and log lines (see
/// `telemetry`) under the 25 s that an orchestrator is promised, and more than twice what a call may take by default.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(12);

/// Serves until `shutdown` is done: then nothing new is accepted, and what is under way has 12 s to finish.
///
/// # Errors
/// The listener's, though it is waited for rather than given up when accepting fails for a while.
pub async fn serve(
    listener: TcpListener,
    upstream: Upstream,
    webhook: WebhookAuth,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_and_drain(listener, upstream, webhook, shutdown, DRAIN_TIME_MAX).await
}

async fn serve_and_drain(
    listener: TcpListener,
    upstream: Upstream,
    webhook: WebhookAuth,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain_time_max: Duration,
) -> io::Result<()> {
    metrics::describe_counter!(routes::REQUESTS_TOTAL, "HTTP requests answered by the gateway, by route and status");
    info!(address = %listener.local_addr()?, "Listening");
    let (begin_drain, drain_begun) = oneshot::channel();
    let serving = axum::serve(listener, routes::router(upstream, webhook)).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody listens any more when serving has ended by itself.
        let _ = begin_drain.send(());
    });
    // A peer that holds a half-sent request would keep a graceful shutdown waiting for ever.
    let drain_is_over = async {
        if drain_begun.await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(drain_time_max).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = drain_is_over => {
            warn!(seconds = drain_time_max.as_secs(), "Requests were still under way when the time to drain was over");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{io::AsyncWriteExt, net::TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_half_sent_request_does_not_hold_up_the_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server_url = "http://127.0.0.1:1".parse().unwrap();
        let upstream = Upstream::new(&server_url, Duration::from_secs(5)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve_and_drain(
            listener,
            upstream,
            WebhookAuth::Unsigned,
            async { stopped.await.unwrap_or_default() },
            Duration::from_millis(300),
        ));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut half_sent = TcpStream::connect(address).await.unwrap();
        half_sent.write_all(b"POST /api/holds HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
        // Answered requests prove that the connections before it have been accepted.
        let healthz = format!("http://{address}/healthz");
        assert_eq!(reqwest::get(&healthz).await.unwrap().status(), 200);

        let begun = Instant::now();
        stop.send(()).unwrap();
        let limit = Duration::from_secs(5);
        tokio::time::timeout(limit, serving).await.expect("the drain must be bounded").unwrap().unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert!(reqwest::get(&healthz).await.is_err());
    }
}

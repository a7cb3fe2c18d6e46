//! The gateway's connections, HTTP/1.1 or HTTP/2, and the limits of each.

use std::{
    future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::sleep};
use tower::ServiceExt;

/// Limits the requests of one HTTP/2 connection at the same time. Further requests wait in the peer.
const REQUESTS_PER_CONNECTION_MAX: u32 = 200;
/// Limits the requests of an HTTP/2 connection that its peer may have given up before this program has seen them. One
/// more closes the connection with all its requests.
///
/// While the program is paused, each request of a load balancer can time out, and so can the request that takes its
/// place. The HTTP/2 library's default is 20.
const GIVEN_UP_PER_CONNECTION_MAX: usize = 2 * REQUESTS_PER_CONNECTION_MAX as usize;
/// Says how often an HTTP/2 connection is pinged. One that doesn't answer is closed, so that a vanished peer's requests
/// end.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Limits how long a ping may go without an answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves connections by one router.
pub(super) struct Connections {
    router: Router,
    head_time_max: Duration,
    http: auto::Builder<TokioExecutor>,
    open: GracefulShutdown,
}

impl Connections {
    /// Makes the server of connections.
    ///
    /// `head_time_max` is how long the head of a request may take, from the start of the connection or the answer
    /// before. So it is also how long an idle HTTP/1.1 connection stays open.
    pub(super) fn new(router: Router, head_time_max: Duration) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(head_time_max);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX)
            .max_pending_accept_reset_streams(GIVEN_UP_PER_CONNECTION_MAX)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Self { router, head_time_max, http, open: GracefulShutdown::new() }
    }

    /// Serves a connection in a task of its own.
    pub(super) fn serve(&self, stream: TcpStream) {
        let asked = Arc::new(AtomicBool::new(false));
        let has_asked = Arc::clone(&asked);
        let service = self.router.clone().map_request(move |request: Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            request.map(Body::new)
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = self.open.watch(connection.into_owned());
        let head_time_max = self.head_time_max;
        tokio::spawn(async move {
            // The library starts its timer only once it knows the version of HTTP, and has none for HTTP/2.
            let first_is_late = async {
                sleep(head_time_max).await;
                if asked.load(Ordering::Relaxed) {
                    future::pending::<()>().await;
                }
            };
            tokio::select! {
                // An error means that the peer went away or doesn't speak HTTP: nothing is left to answer.
                _ended = pin!(connection) => {}
                () = first_is_late => {}
            }
        });
    }

    /// Ends idle connections now, and each other connection after its answers under way.
    pub(super) async fn drain(self) {
        self.open.shutdown().await;
    }
}

//! Serves the metrics address: what Prometheus reads, and what load balancers and orchestrators ask.
//!
//! | GET | answer |
//! |---|---|
//! | /metrics | 200, the page of metrics |
//! | /healthz | 200 as long as the process runs |
//! | /readyz | 200 while the program can do its work, and 503 else and from the signal to stop on |
//!
//! HEAD works as well. Another method is 405, another path 404.

use std::{future::Future, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use crate::{
    listener::{self, CALLS, Limits, METRICS, Protocol},
    metrics::{self, ConnectionFigures},
};

/// Limits how long the first request of a connection may take.
const FIRST_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Limits how long the head of each further request may take, and how long an idle connection stays open: more than what
/// commonly is between two looks.
const HEAD_TIME_MAX: Duration = Duration::from_secs(75);

/// Serves the metrics address until `stop`. Its connections are then closed at once, so that none delays the end.
///
/// `is_ready` says whether the program can do its work.
pub async fn serve<F>(
    listener: TcpListener,
    limits: Limits,
    is_ready: impl Fn() -> F + Clone + Send + Sync + 'static,
    stop: impl Future<Output = ()>,
) where
    F: Future<Output = bool> + Send,
{
    let ready = move || async move {
        if is_ready().await { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
    };
    metrics::watch_connections(|| {
        let open = u64::try_from(CALLS.open()).unwrap_or(u64::MAX);
        ConnectionFigures { open, refused: CALLS.refused() }
    });
    let _fresh = AbortOnDropHandle::new(tokio::spawn(metrics::keep_fresh()));
    let routes = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || StatusCode::NOT_FOUND);
    let protocol = Protocol { head_time_max: Some(FIRST_HEAD_TIME_MAX), ..Protocol::web(HEAD_TIME_MAX, &METRICS) };
    listener::serve(listener, protocol, limits, TowerToHyperService::new(routes), stop, Duration::ZERO).await;
}

async fn page() -> Response {
    match metrics::page().await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            error!(error, "There is no page of metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use reqwest::Client;

    use super::*;

    #[tokio::test]
    async fn the_address_serves_the_page_and_the_probes_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = {
            let ready = Arc::clone(&ready);
            move || std::future::ready(ready.load(Ordering::Relaxed))
        };
        let stop_server = async { stopped.await.unwrap_or_default() };
        let server = tokio::spawn(serve(listener, Limits::default(), is_ready, stop_server));
        let client = Client::builder().no_proxy().build().unwrap();
        let ask = async |method: &str, path: &str| {
            let answer = client.request(method.parse().unwrap(), format!("{url}{path}")).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };

        assert_eq!(ask("GET", "/readyz").await, (503, "not ready\n".to_owned()));
        ready.store(true, Ordering::Relaxed);
        for (method, path, status) in [
            ("GET", "/readyz", 200),
            ("HEAD", "/readyz", 200),
            ("GET", "/healthz", 200),
            ("HEAD", "/healthz", 200),
            ("GET", "/metrics", 200),
            ("POST", "/metrics", 405),
            ("DELETE", "/healthz", 405),
            ("PUT", "/readyz", 405),
            ("GET", "/", 404),
            ("POST", "/other", 404),
            ("GET", "/metrics/x", 404),
        ] {
            assert_eq!(ask(method, path).await.0, status, "{method} {path}");
        }

        stop.send(()).unwrap();
        server.await.unwrap();
        assert!(client.get(format!("{url}/metrics")).send().await.is_err(), "the listener is closed");
    }
}

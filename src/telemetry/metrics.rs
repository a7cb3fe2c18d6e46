//! Serves the page on which Prometheus reads the metrics.

use std::{future::Future, io};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tracing::error;

use crate::metrics;

/// Serves `GET /metrics`, and 404 for anything else, until `shutdown`.
///
/// # Errors
/// The listener breaks down.
pub async fn serve_metrics(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let routes = Router::new().route("/metrics", get(page).fallback(not_found)).fallback(not_found);
    // Connections aren't drained: a scrape takes milliseconds, and an idle client must not delay the end.
    tokio::select! {
        served = axum::serve(listener, routes) => served,
        () = shutdown => Ok(()),
    }
}

async fn page() -> Response {
    match metrics::page().await {
        Ok(page) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => {
            error!(error, "The page of metrics can't be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

#[cfg(test)]
mod tests {
    use reqwest::{Client, StatusCode};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_page_has_the_counters_and_their_descriptions() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve_metrics(listener, async { stopped.await.unwrap_or_default() }));
        let client = Client::new();
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();

        metrics::start_server();
        let answer = client.get(format!("{url}/metrics")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], metrics::CONTENT_TYPE);
        let page = answer.text().await.unwrap();
        assert!(page.contains("# TYPE flashsale_hold_requests_total counter"), "{page}");
        assert!(page.contains("# HELP flashsale_hold_requests_total Requests for holds by"), "{page}");

        for (method, path) in [("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/x"), ("DELETE", "/other")] {
            let request = client.request(method.parse().unwrap(), format!("{url}{path}"));
            assert_eq!(status(request).await, StatusCode::NOT_FOUND, "{method} {path}");
        }

        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        assert!(client.get(format!("{url}/metrics")).send().await.is_err(), "the listener is closed");
    }
}

//! The routes of the gateway. Every request gets a span, is counted, and is never cached.
//!
//! A request whose host or framing may be read in two ways is refused first (400). Then a POST is checked in this order:
//! size of the body (413), signature of a webhook (401), content encoding and type (415), JSON (400), types of the fields
//! (422). Then the server is called.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{MatchedPath, Path, Request, State, rejection::PathRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;
use tracing::{error, warn};

use super::{
    EventSenders, Readiness, Served,
    answer::{HoldAnswer, IgnoredAnswer, OrderAnswer, ProductAnswer, WebhookAnswer},
    body, framing,
    guard::{self, Guard},
    reply::{Asked, Reply},
    request,
    upstream::{self, CallError, Upstream},
    webhook::{self, Delivered, Sender},
};
use crate::{
    metrics,
    pb::GetProductRequest,
    reload::Current,
    spans::{
        self,
        http::{Route, ServerRequest},
    },
    telemetry::Few,
};

const PRODUCT: &str = "/api/products/{id}";
const HOLDS: &str = "/api/holds";
const ORDERS: &str = "/api/orders";
const WEBHOOK: &str = "/api/payments/webhook";
const STRIPE: &str = "/api/payments/stripe";
const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const DESCRIPTION: &str = "/openapi.json";

/// Lists the routes: path, which is also the name in metrics, and name of the span. A path as a client sent it is never
/// a name.
const ROUTES: [(&str, &str); 8] = [
    (PRODUCT, "GET /api/products/{id}"),
    (HOLDS, "POST /api/holds"),
    (ORDERS, "POST /api/orders"),
    (WEBHOOK, "POST /api/payments/webhook"),
    (STRIPE, "POST /api/payments/stripe"),
    (HEALTHZ, "GET /healthz"),
    (READYZ, "GET /readyz"),
    (DESCRIPTION, "GET /openapi.json"),
];

/// Holds what all handlers use.
#[derive(Clone, Debug)]
struct Gateway {
    upstream: Upstream,
    senders: Current<EventSenders>,
    readiness: Readiness,
    /// Limits the log lines about events that nobody believes.
    unbelieved: Arc<Few>,
}

pub(super) fn router(upstream: Upstream, served: Served, readiness: Readiness) -> Router {
    let Served { shop, senders } = served;
    let mut router = Router::new();
    if let Some(access) = shop {
        let guarded = |route: MethodRouter<Gateway>, rpc| {
            route.route_layer(middleware::from_fn_with_state(Guard { access: access.clone(), rpc }, guard::check))
        };
        router = router
            .route(PRODUCT, guarded(get(get_product), "/flashsale.v1.FlashSaleService/GetProduct"))
            .route(HOLDS, guarded(post(create_hold), "/flashsale.v1.FlashSaleService/CreateHold"))
            .route(ORDERS, guarded(post(create_order), "/flashsale.v1.FlashSaleService/CreateOrder"));
    }
    let kinds = senders.get();
    if kinds.webhook.is_some() {
        router = router.route(WEBHOOK, post(payment_webhook));
    }
    if !kinds.stripe.is_empty() {
        webhook::show_ignored_events();
        router = router.route(STRIPE, post(stripe_event));
    }
    router
        .route(HEALTHZ, get(healthz))
        .route(READYZ, get(readyz))
        .route(DESCRIPTION, get(description))
        .fallback(route_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(observe))
        .with_state(Gateway { upstream, senders, readiness, unbelieved: Arc::new(Few::new()) })
}

async fn observe(matched: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = matched.and_then(|matched| ROUTES.iter().find(|route| route.0 == matched.as_str()));
    let span = span(route, &request);
    let mut response = match framing::refuse(&request) {
        Some(refusal) => refusal,
        None => spans::in_span(span.ids(), next.run(request)).await,
    };
    // Caches may keep some statuses unless they are told not to. Neither stock nor a refusal may be kept.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    span.answered(response.status());
    let template = route.map(|route| route.0);
    metrics::record_request(method.as_str(), template, response.status().as_u16(), began.elapsed());
    response
}

/// Starts the span of a request. A look at the gateway's health has none.
fn span(route: Option<&(&'static str, &'static str)>, request: &Request) -> ServerRequest {
    if let Some((HEALTHZ | READYZ, ..)) = route {
        return ServerRequest::default();
    }
    let route = route.map(|(template, span_name)| Route { template, span_name });
    ServerRequest::start(route, request, &upstream::trace_headers(request.headers()))
}

async fn route_not_found(request: Request) -> Reply {
    refuse_unread(request, Reply::route_not_found()).await
}

async fn method_not_allowed(request: Request) -> Reply {
    refuse_unread(request, Reply::method_not_allowed()).await
}

pub(super) async fn refuse_unread(request: Request, reply: Reply) -> Reply {
    let (head, body) = request.into_parts();
    body::discard(&head.headers, body).await;
    reply
}

async fn healthz() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok"}))
}

/// Returns what `docs/openapi.yaml` says, as JSON.
async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

async fn readyz(State(gateway): State<Gateway>) -> Result<Json<serde_json::Value>, Reply> {
    if gateway.readiness.is_ready().await {
        Ok(Json(serde_json::json!({"status": "ready"})))
    } else {
        Err(Reply::unavailable())
    }
}

async fn get_product(
    State(gateway): State<Gateway>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Reply> {
    // Only a path whose escapes aren't UTF-8 can't be read.
    let Path(id) = path.map_err(|_| Reply::no_such_product(""))?;
    let product_id = request::decimal_id(&id).ok_or_else(|| Reply::no_such_product(&id))?;
    let product = gateway
        .upstream
        .get_product(request.headers(), GetProductRequest { product_id })
        .await
        .map_err(|failure| refuse(&failure, Asked::Get))?;
    answer(StatusCode::OK, ProductAnswer::of(product))
}

async fn create_hold(State(gateway): State<Gateway>, request: Request) -> Result<Response, Reply> {
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body).await?;
    let message = request::create_hold(&head.headers, &body)?;
    let hold =
        gateway.upstream.create_hold(&head.headers, message).await.map_err(|failure| refuse(&failure, Asked::Post))?;
    answer(StatusCode::CREATED, HoldAnswer::of(hold))
}

async fn create_order(State(gateway): State<Gateway>, request: Request) -> Result<Response, Reply> {
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body).await?;
    let message = request::create_order(&head.headers, &body)?;
    let order =
        gateway.upstream.create_order(&head.headers, message).await.map_err(|failure| refuse(&failure, Asked::Post))?;
    answer(StatusCode::CREATED, OrderAnswer::of(order))
}

async fn payment_webhook(State(gateway): State<Gateway>, request: Request) -> Result<Response, Reply> {
    match &gateway.senders.get().webhook {
        Some(auth) => deliver(&gateway, Sender::Standard(auth), request).await,
        None => Err(route_not_found(request).await),
    }
}

async fn stripe_event(State(gateway): State<Gateway>, request: Request) -> Result<Response, Reply> {
    deliver(&gateway, Sender::Stripe(&gateway.senders.get().stripe), request).await
}

async fn deliver(gateway: &Gateway, sender: Sender<'_>, request: Request) -> Result<Response, Reply> {
    let (head, body) = request.into_parts();
    match webhook::deliver(&gateway.upstream, &gateway.unbelieved, sender, &head, body).await? {
        Delivered::Handled(handled) => answer(StatusCode::OK, WebhookAnswer::of(handled)),
        Delivered::Ignored(ignored) => answer(StatusCode::OK, Some(IgnoredAnswer::of(ignored))),
    }
}

/// Turns a call without a response into a refusal. Logs it unless the server has logged it.
fn refuse(failure: &CallError, asked: Asked) -> Reply {
    if !matches!(failure, CallError::Refused(_)) {
        warn!(error = %failure, "Call to the server failed");
    }
    Reply::from_call(failure, asked)
}

fn answer<T: Serialize>(status: StatusCode, answer: Option<T>) -> Result<Response, Reply> {
    match answer {
        Some(answer) => Ok((status, Json(answer)).into_response()),
        None => {
            error!("The server's response is incomplete");
            Err(Reply::internal())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A method that a path has beside those that are described, or the other way round, is found by `.ci/openapi`.
    #[test]
    fn every_route_is_described_and_no_other() {
        let description: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let described = description["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys().filter(|key| ["get", "post"].contains(&key.as_str()));
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        let mut described: Vec<String> = described.collect();
        let mut served: Vec<&str> = ROUTES.iter().map(|(_, name)| *name).collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

//! Spans of HTTP requests that the gateway answers.

use std::borrow::Cow;

use ::http::{HeaderMap, Method, Request, StatusCode, Version, header};
use opentelemetry::trace::SpanKind;

use super::{Ends, Span, SpanIds, address, cut, parent_of};

/// Stands for a method that isn't HTTP's.
const OTHER: &str = "_OTHER";
/// Begins the name of the span of a request with such a method.
const HTTP: &str = "HTTP";

/// Names a route of the gateway.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The route's template, like `/api/products/{id}`.
    pub template: &'static str,
    /// The name of the span of its usual method, like `GET /api/products/{id}`.
    pub span_name: &'static str,
}

/// Holds the span of a request.
#[derive(Debug, Default)]
pub struct ServerRequest(Span);

impl ServerRequest {
    /// Starts the span, as a child of the span in `trace`: the request's trace headers, as far as they are accepted.
    pub fn start<B>(route: Option<Route>, request: &Request<B>, trace: &HeaderMap) -> Self {
        let known = known(request.method());
        let name = name(route, known.unwrap_or(HTTP));
        let mut span = Span::start(name, SpanKind::Server, &parent_of(trace), Vec::new());
        if span.is_recording() {
            describe(&mut span, route, known, request);
        }
        Self(span)
    }

    /// Returns the ids, where there is a trace.
    pub fn ids(&self) -> Option<SpanIds> {
        self.0.ids()
    }

    /// Ends the span with the status of the answer. The server is at fault from 500 on.
    pub fn answered(mut self, status: StatusCode) {
        self.0.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            self.0.fail(error_type(status));
        }
    }
}

fn describe<B>(span: &mut Span, route: Option<Route>, known: Option<&'static str>, request: &Request<B>) {
    span.set("http.request.method", known.unwrap_or(OTHER));
    if known.is_none() {
        span.set("http.request.method_original", cut(request.method().as_str()));
    }
    if let Some(route) = route {
        span.set("http.route", route.template);
    }
    // The query is left out: no route has one, so whatever a caller writes there is none of our business.
    span.set("url.path", cut(request.uri().path()));
    span.set("url.scheme", if request.uri().scheme_str() == Some("https") { "https" } else { "http" });
    if let Some(version) = version(request.version()) {
        span.set("network.protocol.version", version);
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().cloned();
    let authority = authority.or_else(|| header(header::HOST)?.parse::<::http::uri::Authority>().ok());
    if let Some(authority) = authority {
        span.set("server.address", cut(authority.host()));
        if let Some(port) = authority.port_u16() {
            span.set("server.port", i64::from(port));
        }
    }
    if let Some(Ends { peer, .. }) = request.extensions().get() {
        address::set(span, "network.peer.address", "network.peer.port", *peer);
    }
    if let Some(agent) = header(header::USER_AGENT) {
        span.set("user_agent.original", cut(agent));
    }
}

/// Returns the name of a method that HTTP has.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    KNOWN.into_iter().find(|known| method.as_str() == *known)
}

fn name(route: Option<Route>, method: &'static str) -> Cow<'static, str> {
    match route {
        None => method.into(),
        Some(Route { span_name, .. }) if span_name.split(' ').next() == Some(method) => span_name.into(),
        Some(Route { template, .. }) => format!("{method} {template}").into(),
    }
}

fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// Returns the status as a word. The gateway answers with few of these.
fn error_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_named_by_method_and_route_and_never_by_what_a_caller_wrote() {
        let route = Route { template: "/api/products/{id}", span_name: "GET /api/products/{id}" };
        for (route, method, expected) in [
            (Some(route), "GET", "GET /api/products/{id}"),
            (Some(route), "HEAD", "HEAD /api/products/{id}"),
            (Some(route), "brew", "HTTP /api/products/{id}"),
            (None, "POST", "POST"),
            (None, "brew", "HTTP"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(name(route, known(&method).unwrap_or(HTTP)), expected);
        }
    }
}

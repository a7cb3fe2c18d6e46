//! Spans of gRPC calls, on the server's side and on the client's.

use std::sync::Arc;

use ::http::HeaderMap;
use opentelemetry::{Context, trace::SpanKind};

use super::{Ends, Span, SpanIds, address, cut, inject, parent_of, scope};
use crate::rpc_codes;

/// Names the system of all these calls. A call to an unknown method has it as the name of its span.
const GRPC: &str = "grpc";
/// Stands for a method that the service doesn't have.
const OTHER: &str = "_OTHER";

/// Names what a caller calls.
#[derive(Debug, Clone, Copy)]
pub enum Method<'a> {
    /// A method of the service, like `flashsale.v1.FlashSaleService/CreateHold`.
    Known(&'static str),
    /// Anything else, as the caller wrote it.
    Unknown(&'a str),
}

/// Holds the span of a call that the server answers. A call that is dropped without an answer was cancelled.
#[derive(Debug)]
pub struct ServerCall {
    span: Span,
    is_answered: bool,
}

impl ServerCall {
    /// Starts the span, as a child of the caller's. `principal` is who calls, where that is known.
    pub fn start(method: Method<'_>, headers: &HeaderMap, ends: Ends, principal: Option<&Arc<str>>) -> Self {
        let name = match method {
            Method::Known(name) => name,
            Method::Unknown(_) => GRPC,
        };
        let mut span = Span::start(name, SpanKind::Server, &parent_of(headers), Vec::new());
        if span.is_recording() {
            describe(&mut span, method);
            address::set(&mut span, "server.address", "server.port", ends.server);
            address::set(&mut span, "network.peer.address", "network.peer.port", ends.peer);
            if let Some(principal) = principal {
                span.set("enduser.id", Arc::clone(principal));
            }
        }
        Self { span, is_answered: false }
    }

    /// Stands for a call that has no span, such as a health check.
    pub fn none() -> Self {
        Self { span: Span::default(), is_answered: true }
    }

    /// Returns the ids, where there is a trace.
    pub fn ids(&self) -> Option<SpanIds> {
        self.span.ids()
    }

    /// Ends the span with the status code of the answer.
    pub fn answered(mut self, code: i32) {
        self.end(code);
    }

    fn end(&mut self, code: i32) {
        self.is_answered = true;
        self.span.set("rpc.status_code", rpc_codes::name(code));
        if rpc_codes::is_server_fault(code) {
            self.span.fail(rpc_codes::name(code));
        }
    }
}

impl Drop for ServerCall {
    fn drop(&mut self) {
        if !self.is_answered {
            self.end(rpc_codes::CANCELLED);
        }
    }
}

/// Holds the span of a call to another server. A call that is dropped without an answer was cancelled.
#[derive(Debug)]
pub struct ClientCall {
    span: Span,
    is_answered: bool,
}

impl ClientCall {
    /// Starts the span of a call of `method` to the server at `host` and `port`, as a child of the current span.
    pub fn start(method: &'static str, host: &str, port: Option<u16>) -> Self {
        let parent = scope::current().map_or_else(Context::new, SpanIds::as_parent);
        let mut span = Span::start(method, SpanKind::Client, &parent, Vec::new());
        if span.is_recording() {
            describe(&mut span, Method::Known(method));
            span.set("server.address", host.to_owned());
            if let Some(port) = port {
                span.set("server.port", i64::from(port));
            }
        }
        Self { span, is_answered: false }
    }

    /// Puts the span into the headers of the call. A trace header that is there already is replaced.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(ids) = self.span.ids() {
            inject(ids, headers);
        }
    }

    /// Ends the span with the status code of the answer, or with the code that stands for the lack of one.
    pub fn answered(mut self, code: i32) {
        self.end(code);
    }

    fn end(&mut self, code: i32) {
        self.is_answered = true;
        self.span.set("rpc.status_code", rpc_codes::name(code));
        if code != 0 {
            self.span.fail(rpc_codes::name(code));
        }
    }
}

impl Drop for ClientCall {
    fn drop(&mut self) {
        if !self.is_answered {
            self.end(rpc_codes::CANCELLED);
        }
    }
}

fn describe(span: &mut Span, method: Method<'_>) {
    span.set("rpc.system.name", GRPC);
    match method {
        Method::Known(name) => span.set("rpc.method", name),
        Method::Unknown(original) => {
            span.set("rpc.method", OTHER);
            span.set("rpc.method_original", cut(original));
        }
    }
}

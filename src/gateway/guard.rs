//! Lets only those through to the shop's routes who may make the call behind the route.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header::WWW_AUTHENTICATE};
use tracing::{field, warn};

use super::{reply::Reply, routes::refuse_unread};
use crate::{
    access::{Access, Denied},
    listener::Peer,
    telemetry::Few,
};

/// Says who may use a route.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) access: Access,
    /// The path of the RPC that the route calls, by which its callers are judged.
    pub(super) rpc: &'static str,
}

/// Refuses a request whose caller may not make the call behind the route. Its body isn't looked at.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // The listener puts it into each request.
    let peer = request.extensions().get::<Arc<Peer>>();
    let verdict = match peer {
        Some(peer) => guard.access.admit(guard.rpc, request.headers(), peer),
        None => Err(Denied::Unauthenticated { cause: "no connection" }),
    };
    let Err(denied) = verdict else { return next.run(request).await };
    log(&request, peer, &denied);
    match denied {
        Denied::PermissionDenied { .. } => refuse_unread(request, Reply::permission_denied()).await.into_response(),
        Denied::Unauthenticated { .. } => {
            let mut answer = refuse_unread(request, Reply::unauthenticated()).await.into_response();
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
    }
}

fn log(request: &Request, peer: Option<&Arc<Peer>>, denied: &Denied) {
    static LINES: Few = Few::new();
    let Some(left_out) = LINES.is_due() else { return };
    let (peer, method) = (peer.and_then(|peer| peer.address).map(field::display), request.method().as_str());
    let (principal, cause) = (denied.principal().map(|name| &**name), denied.cause());
    warn!(method, peer, principal, cause, left_out, "Request refused");
}

//! The log lines of calls that were refused before anything of their body was read.

use tracing::warn;

use crate::{access::Denied, listener::Peer, telemetry::Few};

/// Limits the bytes of a path that is logged. A caller may make up paths without end.
const PATH_BYTES_MAX: usize = 128;

/// Logs a refused call, unless ten of this second are logged already. Neither its headers nor its body are in the line.
pub(super) fn log(path: &str, peer: &Peer, denied: &Denied) {
    static LINES: Few = Few::new();
    let Some(left_out) = LINES.is_due() else { return };
    let path = path.strip_prefix('/').unwrap_or(path);
    let method: String = path.chars().take(PATH_BYTES_MAX).collect();
    let (principal, cause) = (denied.principal().map(|name| &**name), denied.cause());
    warn!(method, peer = peer.address.map(tracing::field::display), principal, cause, left_out, "Call refused");
}

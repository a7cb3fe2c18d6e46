//! Whether the gateway can do its work: its server is ready, and nothing has told the gateway to stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::upstream::Upstream;

/// Says whether the gateway is ready. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    upstream: Upstream,
    is_leaving: Arc<AtomicBool>,
}

impl Readiness {
    /// Makes the readiness of a gateway in front of this server.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, is_leaving: Arc::new(AtomicBool::new(false)) }
    }

    /// Asks the server, which has a second to answer.
    pub async fn is_ready(self) -> bool {
        !self.is_leaving.load(Ordering::Relaxed) && self.upstream.is_ready().await
    }

    /// Says no from now on, so that load balancers go elsewhere.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }
}

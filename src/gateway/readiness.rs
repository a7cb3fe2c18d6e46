//! Whether the gateway can do its work: its server is ready, and nothing has told the gateway to stop.
//!
//! Several servers may stand behind the one address. One that is on its way out says that it isn't ready, and serves on
//! until its connections are told to go. The next connection leads to another server. So a gateway that was ready stays
//! so for a while after the first such answer. A server that doesn't answer at all is no such server.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::upstream::Upstream;

/// Says for how long a server may say that it isn't ready: longer than the longest drain delay, which is 4 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says whether the gateway is ready. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    upstream: Upstream,
    is_leaving: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

impl Readiness {
    /// Makes the readiness of a gateway in front of this server.
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, is_leaving: Arc::default(), seen: Arc::default() }
    }

    /// Asks the server, which has a second to answer.
    pub async fn is_ready(self) -> bool {
        if self.is_leaving.load(Ordering::Relaxed) {
            return false;
        }
        let says = self.upstream.says_ready().await;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_ready(says, Instant::now())
    }

    /// Says no from now on, so that load balancers go elsewhere.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }
}

/// Remembers what the server has said.
#[derive(Debug, Default)]
enum Seen {
    /// It isn't ready, or hasn't answered.
    #[default]
    Unready,
    /// It is ready.
    Ready,
    /// It was ready, and has said since then that it isn't.
    Doubtful(Instant),
}

impl Seen {
    /// Takes what the server says now, and says whether the gateway is ready.
    fn is_ready(&mut self, says: Option<bool>, now: Instant) -> bool {
        *self = match (says, &*self) {
            (Some(true), _) => Self::Ready,
            (None, _) | (Some(false), Self::Unready) => Self::Unready,
            (Some(false), Self::Ready) => Self::Doubtful(now),
            (Some(false), Self::Doubtful(since)) if now.saturating_duration_since(*since) < PATIENCE => {
                Self::Doubtful(*since)
            }
            (Some(false), Self::Doubtful(_)) => Self::Unready,
        };
        !matches!(self, Self::Unready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_on_its_way_out_takes_no_gateway_out() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut after = |seconds: u64, says| seen.is_ready(says, start + Duration::from_secs(seconds));
        assert!(!after(0, Some(false)), "it has never been ready");
        assert!(after(1, Some(true)));
        // The server drains, for as long as it may, and the next connection leads to another one.
        assert!(after(10, Some(false)) && after(14, Some(false)) && after(15, Some(true)));
        // An outage of the database: it is believed after a while, and what follows at once.
        assert!(after(20, Some(false)) && after(24, Some(false)));
        assert!(!after(25, Some(false)) && !after(26, Some(false)));
        assert!(after(27, Some(true)) && after(28, Some(false)));
        // Nobody answers.
        assert!(!after(29, None) && !after(30, Some(false)));
    }
}

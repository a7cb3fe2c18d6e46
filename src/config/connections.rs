//! The settings of connections: how many, how old, and how they end.

use std::time::Duration;

use clap::Args;

use super::{DAY, SECOND, value};
use crate::listener::Limits;

/// Limits the drain delay, so that a shutdown ends within the 25 s that an orchestrator is promised.
const DRAIN_DELAY_MAX: Duration = Duration::from_secs(4);
/// Limits the connections of a listener.
const CONNECTIONS_MAX: usize = 1_000_000;

#[derive(Args)]
pub(super) struct ConnectionArgs {
    /// How long to go on serving after the signal to stop, not ready any more, 0s to 4s. Load balancers need the time.
    #[arg(long, env = "FLASHSALE_DRAIN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = drain_delay)]
    drain_delay: Duration,
    /// The most connections to each address, 1 to 1000000. One more is closed.
    #[arg(long, env = "FLASHSALE_MAX_CONNECTIONS", value_name = "CONNECTIONS", default_value = "4096", value_parser = value::count(CONNECTIONS_MAX))]
    max_connections: usize,
}

impl ConnectionArgs {
    /// Returns limits for connections of any age.
    pub(super) fn limits(&self) -> Limits {
        Limits { connections_max: self.max_connections, age_max: None, drain_delay: self.drain_delay }
    }
}

#[derive(Args)]
pub(super) struct AgeArgs {
    /// The age at which a connection is told to go, 1s to 365days, up to a tenth shorter or longer; 0: never.
    #[arg(long, env = "FLASHSALE_MAX_CONNECTION_AGE", value_name = "DURATION", default_value = "5m", value_parser = age)]
    max_connection_age: Duration,
}

impl AgeArgs {
    pub(super) fn age_max(&self) -> Option<Duration> {
        (!self.max_connection_age.is_zero()).then_some(self.max_connection_age)
    }
}

fn drain_delay(text: &str) -> Result<Duration, String> {
    value::duration(text, Duration::ZERO, DRAIN_DELAY_MAX, "from 0s to 4s")
}

fn age(text: &str) -> Result<Duration, String> {
    if value::any_duration(text)?.is_zero() {
        return Ok(Duration::ZERO);
    }
    value::duration(text, SECOND, DAY * 365, "from 1s to 365days, or 0")
}

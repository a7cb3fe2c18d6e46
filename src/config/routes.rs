//! The setting of the gateway that says which routes it serves.

use std::net::SocketAddr;

use clap::Args;

use crate::gateway::Routes;

#[derive(Args)]
pub(super) struct RoutesArgs {
    /// The routes to serve. Unless it is given: all on a loopback address, the payment webhooks alone on any other.
    #[arg(long, env = "FLASHSALE_GATEWAY_ROUTES", value_name = "ROUTES")]
    routes: Option<Routes>,
}

impl RoutesArgs {
    /// Returns the routes of a gateway that listens there.
    pub(super) fn routes(&self, listen: SocketAddr) -> Routes {
        let is_loopback = listen.ip().to_canonical().is_loopback();
        self.routes.unwrap_or(if is_loopback { Routes::All } else { Routes::Webhook })
    }
}

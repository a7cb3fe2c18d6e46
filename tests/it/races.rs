//! Runs many callers at the same moment, over several connections, at one server or at two on one database.
//!
//! The servers are in this process, except where the claim is about several server programs.

mod payments;
mod stock;
mod storm;
mod turns;

use crate::support::{
    client::Clients,
    server::{Sale, TestServer},
};

/// Holds a sale with one server or two, and connections to them in turn.
struct Crowd {
    sale: Sale,
    second: Option<TestServer>,
    callers: Vec<Clients>,
}

impl Crowd {
    /// Starts a sale with 8 connections in all. `name` is the test's.
    async fn gather(name: &str, servers: usize) -> Self {
        let sale = Sale::start(name).await;
        let second = if servers == 2 { Some(sale.second_server().await) } else { None };
        let addresses = [Some(sale.server.address()), second.as_ref().map(TestServer::address)];
        let mut connections = Vec::new();
        for address in addresses.into_iter().flatten() {
            connections.push(Clients::connect_several(&address, 8 / servers).await);
        }
        let callers = (0..8).map(|number| connections[number % servers][number / servers].clone()).collect();
        Self { sale, second, callers }
    }

    /// Returns the connection of caller `number`. With two servers, neighbours have different servers.
    fn caller(&self, number: usize) -> Clients {
        self.callers[number % self.callers.len()].clone()
    }

    async fn finish(self) {
        drop(self.callers);
        if let Some(second) = self.second {
            second.stop().await;
        }
        self.sale.finish().await;
    }
}

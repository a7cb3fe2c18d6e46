//! Counts the statements that a call sends.

use flashsale::{
    checkout::{Checkout, CreateHold, request_id_or_made_up},
    domain::{BuyerId, Hold, ProductId, Quantity, RequestId},
    error::Error,
    pb::CreateHoldRequest,
};

use super::{
    database::TestDatabase,
    proxy::{Counts, Proxy},
    server::{database_config, default_settings},
};

/// Runs the checkout behind a proxy that counts statements.
///
/// There is no server, since a server looks at the database every second and its statements would be counted.
pub struct CountedCheckout {
    proxy: Proxy,
    /// The checkout, for calls that [`Self::count`] counts.
    pub checkout: Checkout,
}

impl CountedCheckout {
    /// Opens the checkout on a database and makes its only connection.
    pub async fn open(database: &TestDatabase) -> Self {
        let proxy = Proxy::start(database.port()).await;
        let config = database_config(&database.url_at(proxy.port()), 1);
        let checkout = Checkout::open(&config, default_settings()).unwrap();
        checkout.readiness(true).await.unwrap();
        Self { proxy, checkout }
    }

    /// Runs a call and returns its answer and the counts of what it sent.
    pub async fn count<T>(&self, call: impl Future<Output = T>) -> (T, Counts) {
        let before = self.proxy.counts();
        let answer = call.await;
        (answer, self.proxy.counts() - before)
    }

    /// Runs CreateHold and counts its statements.
    pub async fn hold(&self, request: CreateHoldRequest) -> (Result<Hold, Error>, Counts) {
        let CreateHoldRequest { product_id, qty, request_id, buyer_id, expected_unit_price_cents } = request;
        let command = CreateHold {
            product_id: ProductId::stored(product_id),
            qty: Quantity::stored(qty),
            request_id: request_id_or_made_up(request_id.map(|id| RequestId::parse(&id).unwrap())),
            buyer_id: buyer_id.map(|id| BuyerId::parse(&id).unwrap()),
            expected_unit_price_cents,
        };
        self.count(self.checkout.create_hold(command)).await
    }

    /// Closes the checkout.
    pub async fn close(self) {
        self.checkout.close().await;
    }
}

//! Calls whose statements are counted.

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

/// The checkout behind a proxy that counts, and without a server: that looks at the database every second, at whatever
/// moment.
pub(crate) struct CountedCheckout {
    proxy: Proxy,
    pub(crate) checkout: Checkout,
}

impl CountedCheckout {
    /// On a database, with one connection, which is there.
    pub(crate) async fn open(database: &TestDatabase) -> Self {
        let proxy = Proxy::start(database.port()).await;
        let config = database_config(&database.url_at(proxy.port()), 1);
        let checkout = Checkout::open(&config, default_settings()).unwrap();
        checkout.readiness(true).await.unwrap();
        Self { proxy, checkout }
    }

    /// What a call came to, and what it sent.
    pub(crate) async fn count<T>(&self, call: impl Future<Output = T>) -> (T, Counts) {
        let before = self.proxy.counts();
        let came_to = call.await;
        (came_to, self.proxy.counts() - before)
    }

    /// CreateHold.
    pub(crate) async fn hold(&self, request: CreateHoldRequest) -> (Result<Hold, Error>, Counts) {
        let CreateHoldRequest { product_id, qty, request_id, buyer_id } = request;
        let command = CreateHold {
            product_id: ProductId::stored(product_id),
            qty: Quantity::stored(qty),
            request_id: request_id_or_made_up(request_id.map(|id| RequestId::parse(&id).unwrap())),
            buyer_id: buyer_id.map(|id| BuyerId::parse(&id).unwrap()),
        };
        self.count(self.checkout.create_hold(command)).await
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        self.checkout.close().await;
    }
}

//! Calls to a server, as short as a test wants them.

use std::{collections::BTreeMap, time::Duration};

use flashsale::pb::{
    CreateHoldRequest, CreateOrderRequest, CreateProductRequest, GetHoldRequest, GetOrderRequest, GetProductRequest,
    HandlePaymentWebhookRequest, HandlePaymentWebhookResponse, Hold, Order, PaymentStatus, Product, ReleaseHoldRequest,
    admin_service_client::AdminServiceClient, flash_sale_service_client::FlashSaleServiceClient,
    payment_service_client::PaymentServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::{ErrorDetails, StatusExt};

use super::wait;

/// How long health may take to notice.
const HEALTH_LIMIT: Duration = Duration::from_secs(60);

/// The services over one HTTP/2 connection. A clone shares it; calls at the same moment that shall not share a
/// connection take a value of [`Clients::connect_several`] each.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) sale: FlashSaleServiceClient<Channel>,
    pub(crate) payment: PaymentServiceClient<Channel>,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) health: HealthClient<Channel>,
}

impl Clients {
    /// To the server at `address`, such as `127.0.0.1:50051`.
    pub(crate) async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await;
        Self::over(channel.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// `count` connections.
    pub(crate) async fn connect_several(address: &str, count: usize) -> Vec<Self> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Self::connect(address).await);
        }
        clients
    }

    fn over(channel: Channel) -> Self {
        Self {
            sale: FlashSaleServiceClient::new(channel.clone()),
            payment: PaymentServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel.clone()),
            health: HealthClient::new(channel),
        }
    }

    /// What the health service says of `service`.
    pub(crate) async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let response = self.health.clone().check(request).await?;
        Ok(response.into_inner().status())
    }

    /// Waits until the server says this of itself and of its three services; `liveness` must be SERVING all the time.
    pub(crate) async fn wait_for_health(&self, expected: ServingStatus) {
        wait::eventually(HEALTH_LIMIT, &format!("{expected:?}"), async || {
            assert_eq!(self.health("liveness").await.unwrap(), ServingStatus::Serving);
            let mut all = true;
            for service in
                ["", "flashsale.v1.FlashSaleService", "flashsale.v1.PaymentService", "flashsale.v1.AdminService"]
            {
                all &= self.health(service).await.unwrap() == expected;
            }
            all
        })
        .await;
    }

    /// Puts a product on sale: at once, for ever, without a limit.
    pub(crate) async fn create_product(&self, name: &str, price_cents: i64, total_stock: i64) -> Product {
        let created = self.try_create_product(CreateProductRequest {
            name: name.to_owned(),
            price_cents,
            total_stock,
            ..Default::default()
        });
        created.await.unwrap()
    }

    /// Puts a product on sale.
    pub(crate) async fn try_create_product(&self, request: CreateProductRequest) -> Result<Product, Status> {
        let response = self.admin.clone().create_product(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// GetProduct.
    pub(crate) async fn product(&self, product_id: i64) -> Result<Product, Status> {
        let request = GetProductRequest { product_id };
        let response = self.sale.clone().get_product(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// What GetProduct says is left.
    pub(crate) async fn available_stock(&self, product_id: i64) -> i64 {
        self.product(product_id).await.unwrap().available_stock
    }

    /// CreateHold without a request_id or a buyer.
    pub(crate) async fn hold(&self, product_id: i64, qty: i32) -> Result<Hold, Status> {
        self.hold_by(CreateHoldRequest { product_id, qty, ..Default::default() }).await
    }

    /// CreateHold.
    pub(crate) async fn hold_by(&self, request: CreateHoldRequest) -> Result<Hold, Status> {
        let response = self.sale.clone().create_hold(request).await?;
        Ok(response.into_inner().hold.unwrap())
    }

    /// GetHold.
    pub(crate) async fn get_hold(&self, hold_id: i64) -> Result<Hold, Status> {
        let request = GetHoldRequest { hold_id };
        let response = self.sale.clone().get_hold(request).await?;
        Ok(response.into_inner().hold.unwrap())
    }

    /// ReleaseHold.
    pub(crate) async fn release(&self, hold_id: i64) -> Result<Hold, Status> {
        let request = ReleaseHoldRequest { hold_id };
        let response = self.sale.clone().release_hold(request).await?;
        Ok(response.into_inner().hold.unwrap())
    }

    /// CreateOrder without a request_id.
    pub(crate) async fn order(&self, hold_id: i64) -> Result<Order, Status> {
        self.order_by(CreateOrderRequest { hold_id, request_id: None }).await
    }

    /// CreateOrder.
    pub(crate) async fn order_by(&self, request: CreateOrderRequest) -> Result<Order, Status> {
        let response = self.sale.clone().create_order(request).await?;
        Ok(response.into_inner().order.unwrap())
    }

    /// GetOrder.
    pub(crate) async fn get_order(&self, order_id: i64) -> Result<Order, Status> {
        let request = GetOrderRequest { order_id };
        let response = self.sale.clone().get_order(request).await?;
        Ok(response.into_inner().order.unwrap())
    }

    /// HandlePaymentWebhook without an amount.
    pub(crate) async fn pay(
        &self,
        idempotency_key: &str,
        order_id: i64,
        status: PaymentStatus,
    ) -> Result<HandlePaymentWebhookResponse, Status> {
        self.pay_by(HandlePaymentWebhookRequest {
            idempotency_key: idempotency_key.to_owned(),
            order_id,
            status: status.into(),
            amount_cents: None,
        })
        .await
    }

    /// HandlePaymentWebhook.
    pub(crate) async fn pay_by(
        &self,
        request: HandlePaymentWebhookRequest,
    ) -> Result<HandlePaymentWebhookResponse, Status> {
        let response = self.payment.clone().handle_payment_webhook(request).await?;
        Ok(response.into_inner())
    }
}

/// The reason in the error's ErrorInfo, which it must have and of this service's domain.
pub(crate) fn reason(status: &Status) -> String {
    let details = details(status);
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "flashsale", "of {status:?}");
    info.reason.clone()
}

/// The metadata in the error's ErrorInfo.
pub(crate) fn metadata(status: &Status) -> BTreeMap<String, String> {
    let details = details(status);
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    info.metadata.clone().into_iter().collect()
}

/// Everything that the error carries.
pub(crate) fn details(status: &Status) -> ErrorDetails {
    status.get_error_details()
}

/// Fails the test unless the call was refused with this code and reason; returns the error for more questions.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, expected: &str) -> Status {
    let status = match result {
        Err(status) => status,
        Ok(answer) => panic!("expected {expected}, was answered {answer:?}"),
    };
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status:?}");
    status
}

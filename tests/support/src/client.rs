//! Calls a server with few words.

use std::{collections::BTreeMap, time::Duration};

use flashsale::pb::{
    CancelOrderRequest, CreateHoldRequest, CreateOrderRequest, CreateProductRequest, GetHoldRequest, GetOrderRequest,
    GetProductRequest, HandlePaymentWebhookRequest, HandlePaymentWebhookResponse, Hold, Order, PaymentStatus, Product,
    ReleaseHoldRequest, admin_service_client::AdminServiceClient, flash_sale_service_client::FlashSaleServiceClient,
    payment_service_client::PaymentServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::{ErrorDetails, StatusExt};

use super::wait;

/// How long the health service may take to notice a change.
const HEALTH_LIMIT: Duration = Duration::from_secs(60);

/// Calls all services over one HTTP/2 connection, which a clone shares.
///
/// Calls that must not share a connection take one value each of [`Clients::connect_several`].
#[derive(Clone)]
pub struct Clients {
    /// FlashSaleService.
    pub sale: FlashSaleServiceClient<Channel>,
    /// PaymentService.
    pub payment: PaymentServiceClient<Channel>,
    /// AdminService.
    pub admin: AdminServiceClient<Channel>,
    /// gRPC's health service.
    pub health: HealthClient<Channel>,
}

impl Clients {
    /// Connects to the server at `address`, such as `127.0.0.1:50051`.
    pub async fn connect(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await;
        Self::over(channel.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// Opens `count` connections.
    pub async fn connect_several(address: &str, count: usize) -> Vec<Self> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Self::connect(address).await);
        }
        clients
    }

    /// Calls over a connection that is there.
    pub fn over(channel: Channel) -> Self {
        Self {
            sale: FlashSaleServiceClient::new(channel.clone()),
            payment: PaymentServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel.clone()),
            health: HealthClient::new(channel),
        }
    }

    /// Returns what the health service says about `service`.
    pub async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let response = self.health.clone().check(request).await?;
        Ok(response.into_inner().status())
    }

    /// Waits until the server and its three services have the `expected` health.
    ///
    /// `liveness` must be SERVING all the time.
    pub async fn wait_for_health(&self, expected: ServingStatus) {
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

    /// Puts a product on sale at once, without an end and without a limit.
    pub async fn create_product(&self, name: &str, price_cents: i64, total_stock: i64) -> Product {
        let created = self.try_create_product(CreateProductRequest {
            name: name.to_owned(),
            price_cents,
            total_stock,
            ..Default::default()
        });
        created.await.unwrap()
    }

    /// Puts a product on sale.
    pub async fn try_create_product(&self, request: CreateProductRequest) -> Result<Product, Status> {
        let response = self.admin.clone().create_product(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// Calls GetProduct.
    pub async fn product(&self, product_id: i64) -> Result<Product, Status> {
        let request = GetProductRequest { product_id };
        let response = self.sale.clone().get_product(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// Returns the available stock that GetProduct tells.
    pub async fn available_stock(&self, product_id: i64) -> i64 {
        self.product(product_id).await.unwrap().available_stock
    }

    /// Calls CreateHold without a request_id or a buyer.
    pub async fn hold(&self, product_id: i64, qty: i32) -> Result<Hold, Status> {
        self.hold_by(CreateHoldRequest { product_id, qty, ..Default::default() }).await
    }

    /// Calls CreateHold.
    pub async fn hold_by(&self, request: CreateHoldRequest) -> Result<Hold, Status> {
        let response = self.sale.clone().create_hold(request).await?;
        Ok(response.into_inner().hold.unwrap())
    }

    /// Calls GetHold.
    pub async fn get_hold(&self, hold_id: i64) -> Result<Hold, Status> {
        let request = GetHoldRequest { hold_id };
        let response = self.sale.clone().get_hold(request).await?;
        Ok(response.into_inner().hold.unwrap())
    }

    /// Calls ReleaseHold.
    pub async fn release(&self, hold_id: i64) -> Result<Hold, Status> {
        let request = ReleaseHoldRequest { hold_id };
        let response = self.sale.clone().release_hold(request).await?;
        Ok(response.into_inner().hold.unwrap())
    }

    /// Calls CreateOrder without a request_id.
    pub async fn order(&self, hold_id: i64) -> Result<Order, Status> {
        self.order_by(CreateOrderRequest { hold_id, ..Default::default() }).await
    }

    /// Calls CreateOrder.
    pub async fn order_by(&self, request: CreateOrderRequest) -> Result<Order, Status> {
        let response = self.sale.clone().create_order(request).await?;
        Ok(response.into_inner().order.unwrap())
    }

    /// Calls CancelOrder.
    pub async fn cancel(&self, order_id: i64) -> Result<Order, Status> {
        let request = CancelOrderRequest { order_id };
        let response = self.sale.clone().cancel_order(request).await?;
        Ok(response.into_inner().order.unwrap())
    }

    /// Calls GetOrder.
    pub async fn get_order(&self, order_id: i64) -> Result<Order, Status> {
        let request = GetOrderRequest { order_id };
        let response = self.sale.clone().get_order(request).await?;
        Ok(response.into_inner().order.unwrap())
    }

    /// Calls HandlePaymentWebhook without an amount.
    pub async fn pay(
        &self,
        idempotency_key: &str,
        order_id: i64,
        status: PaymentStatus,
    ) -> Result<HandlePaymentWebhookResponse, Status> {
        self.pay_by(HandlePaymentWebhookRequest {
            idempotency_key: idempotency_key.to_owned(),
            order_id,
            status: status.into(),
            ..Default::default()
        })
        .await
    }

    /// Calls HandlePaymentWebhook.
    pub async fn pay_by(&self, request: HandlePaymentWebhookRequest) -> Result<HandlePaymentWebhookResponse, Status> {
        let response = self.payment.clone().handle_payment_webhook(request).await?;
        Ok(response.into_inner())
    }
}

/// Returns the reason in the error's ErrorInfo, whose domain must be this service's.
pub fn reason(status: &Status) -> String {
    let details = details(status);
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "flashsale", "{status:?}");
    info.reason.clone()
}

/// Returns the metadata in the error's ErrorInfo.
pub fn metadata(status: &Status) -> BTreeMap<String, String> {
    let details = details(status);
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    info.metadata.clone().into_iter().collect()
}

/// Returns everything that the error carries.
pub fn details(status: &Status) -> ErrorDetails {
    status.get_error_details()
}

/// Fails the test unless the call was refused with this code and reason, and returns the error.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, expected: &str) -> Status {
    let status = match result {
        Err(status) => status,
        Ok(answer) => panic!("expected {expected}, got the answer {answer:?}"),
    };
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status:?}");
    status
}

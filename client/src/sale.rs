//! The calls of a shop and of a gateway.

use flashsale_proto::{
    CancelOrderRequest, CreateHoldRequest, CreateOrderRequest, GetHoldRequest, GetOrderRequest, GetProductRequest,
    HandlePaymentWebhookRequest, HandlePaymentWebhookResponse, Hold, Order, Product, ReleaseHoldRequest,
    flash_sale_service_client::FlashSaleServiceClient, payment_service_client::PaymentServiceClient,
};
use tonic::IntoRequest;

use crate::{
    client::{Client, whole},
    error::CallError,
};

/// Calls FlashSaleService.
impl Client {
    /// Reads a product.
    ///
    /// # Errors
    /// PRODUCT_NOT_FOUND.
    pub async fn get_product(&self, request: impl IntoRequest<GetProductRequest>) -> Result<Product, CallError> {
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).get_product(request).await };
        whole(self.call(request.into_request(), send).await?.product)
    }

    /// Sets units aside for a while.
    ///
    /// # Errors
    /// The sale's reasons, such as OUT_OF_STOCK or SALE_NOT_STARTED.
    pub async fn create_hold(&self, request: impl IntoRequest<CreateHoldRequest>) -> Result<Hold, CallError> {
        let mut request = request.into_request();
        self.complete(&mut request.get_mut().request_id);
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).create_hold(request).await };
        whole(self.call(request, send).await?.hold)
    }

    /// Reads a hold.
    ///
    /// # Errors
    /// HOLD_NOT_FOUND.
    pub async fn get_hold(&self, request: impl IntoRequest<GetHoldRequest>) -> Result<Hold, CallError> {
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).get_hold(request).await };
        whole(self.call(request.into_request(), send).await?.hold)
    }

    /// Gives a hold's units back at once.
    ///
    /// # Errors
    /// HOLD_NOT_FOUND, HOLD_USED.
    pub async fn release_hold(&self, request: impl IntoRequest<ReleaseHoldRequest>) -> Result<Hold, CallError> {
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).release_hold(request).await };
        whole(self.call(request.into_request(), send).await?.hold)
    }

    /// Turns a hold into an order.
    ///
    /// # Errors
    /// HOLD_NOT_FOUND, HOLD_EXPIRED, HOLD_CANCELLED, HOLD_USED.
    pub async fn create_order(&self, request: impl IntoRequest<CreateOrderRequest>) -> Result<Order, CallError> {
        let mut request = request.into_request();
        self.complete(&mut request.get_mut().request_id);
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).create_order(request).await };
        whole(self.call(request, send).await?.order)
    }

    /// Cancels an order that isn't paid.
    ///
    /// # Errors
    /// ORDER_NOT_FOUND, ORDER_PAID.
    pub async fn cancel_order(&self, request: impl IntoRequest<CancelOrderRequest>) -> Result<Order, CallError> {
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).cancel_order(request).await };
        whole(self.call(request.into_request(), send).await?.order)
    }

    /// Reads an order.
    ///
    /// # Errors
    /// ORDER_NOT_FOUND.
    pub async fn get_order(&self, request: impl IntoRequest<GetOrderRequest>) -> Result<Order, CallError> {
        let send = |channel, request| async move { FlashSaleServiceClient::new(channel).get_order(request).await };
        whole(self.call(request.into_request(), send).await?.order)
    }
}

/// Calls PaymentService, which is for gateways.
impl Client {
    /// Settles an order by a payment event.
    ///
    /// # Errors
    /// ORDER_NOT_FOUND, IDEMPOTENCY_KEY_REUSED.
    pub async fn handle_payment_webhook(
        &self,
        request: impl IntoRequest<HandlePaymentWebhookRequest>,
    ) -> Result<HandlePaymentWebhookResponse, CallError> {
        let send =
            |channel, request| async move { PaymentServiceClient::new(channel).handle_payment_webhook(request).await };
        self.call(request.into_request(), send).await
    }
}

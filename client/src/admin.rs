//! The calls of an operator.

use flashsale_proto::{
    AcceptPaymentRequest, AcceptPaymentResponse, AdjustStockRequest, CreateProductRequest, GetSaleStatsRequest,
    GetSaleStatsResponse, ListHoldsRequest, ListHoldsResponse, ListOperatorActionsRequest, ListOperatorActionsResponse,
    ListOrdersRequest, ListOrdersResponse, ListPaymentEventsRequest, ListPaymentEventsResponse,
    ListPaymentExceptionsRequest, ListPaymentExceptionsResponse, ListProductsRequest, ListProductsResponse,
    PaymentException, Product, ResolvePaymentExceptionRequest, UpdateProductRequest,
    admin_service_client::AdminServiceClient,
};
use tonic::IntoRequest;

use crate::{
    client::{Client, whole},
    error::CallError,
};

/// Calls AdminService.
impl Client {
    /// Puts a product on sale.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED.
    pub async fn create_product(&self, request: impl IntoRequest<CreateProductRequest>) -> Result<Product, CallError> {
        let mut request = request.into_request();
        self.complete(&mut request.get_mut().request_id);
        let send = |channel, request| async move { AdminServiceClient::new(channel).create_product(request).await };
        whole(self.call(request, send).await?.product)
    }

    /// Changes the fields of a product that the mask names.
    ///
    /// # Errors
    /// PRODUCT_NOT_FOUND.
    pub async fn update_product(&self, request: impl IntoRequest<UpdateProductRequest>) -> Result<Product, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).update_product(request).await };
        whole(self.call(request.into_request(), send).await?.product)
    }

    /// Adds units to a product, or takes available units away. The request id is the caller's.
    ///
    /// # Errors
    /// PRODUCT_NOT_FOUND, OUT_OF_STOCK, REQUEST_ID_REUSED.
    pub async fn adjust_stock(&self, request: impl IntoRequest<AdjustStockRequest>) -> Result<Product, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).adjust_stock(request).await };
        whole(self.call(request.into_request(), send).await?.product)
    }

    /// Counts where a product's units are.
    ///
    /// # Errors
    /// PRODUCT_NOT_FOUND.
    pub async fn get_sale_stats(
        &self,
        request: impl IntoRequest<GetSaleStatsRequest>,
    ) -> Result<GetSaleStatsResponse, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).get_sale_stats(request).await };
        self.call(request.into_request(), send).await
    }

    /// Lists the payments that a person has to handle.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_payment_exceptions(
        &self,
        request: impl IntoRequest<ListPaymentExceptionsRequest>,
    ) -> Result<ListPaymentExceptionsResponse, CallError> {
        let send =
            |channel, request| async move { AdminServiceClient::new(channel).list_payment_exceptions(request).await };
        self.call(request.into_request(), send).await
    }

    /// Closes a payment exception.
    ///
    /// # Errors
    /// PAYMENT_EXCEPTION_NOT_FOUND.
    pub async fn resolve_payment_exception(
        &self,
        request: impl IntoRequest<ResolvePaymentExceptionRequest>,
    ) -> Result<PaymentException, CallError> {
        let send =
            |channel, request| async move { AdminServiceClient::new(channel).resolve_payment_exception(request).await };
        whole(self.call(request.into_request(), send).await?.exception)
    }

    /// Takes a payment of another amount as payment of its order.
    ///
    /// # Errors
    /// PAYMENT_EXCEPTION_NOT_FOUND, PAYMENT_NOT_ACCEPTABLE.
    pub async fn accept_payment(
        &self,
        request: impl IntoRequest<AcceptPaymentRequest>,
    ) -> Result<AcceptPaymentResponse, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).accept_payment(request).await };
        self.call(request.into_request(), send).await
    }

    /// Lists the products.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_products(
        &self,
        request: impl IntoRequest<ListProductsRequest>,
    ) -> Result<ListProductsResponse, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).list_products(request).await };
        self.call(request.into_request(), send).await
    }

    /// Lists the holds of a product.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_holds(
        &self,
        request: impl IntoRequest<ListHoldsRequest>,
    ) -> Result<ListHoldsResponse, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).list_holds(request).await };
        self.call(request.into_request(), send).await
    }

    /// Lists the orders of a product.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_orders(
        &self,
        request: impl IntoRequest<ListOrdersRequest>,
    ) -> Result<ListOrdersResponse, CallError> {
        let send = |channel, request| async move { AdminServiceClient::new(channel).list_orders(request).await };
        self.call(request.into_request(), send).await
    }

    /// Lists the payment events of an order or of a key.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_payment_events(
        &self,
        request: impl IntoRequest<ListPaymentEventsRequest>,
    ) -> Result<ListPaymentEventsResponse, CallError> {
        let send =
            |channel, request| async move { AdminServiceClient::new(channel).list_payment_events(request).await };
        self.call(request.into_request(), send).await
    }

    /// Lists what operators changed.
    ///
    /// # Errors
    /// None of its own.
    pub async fn list_operator_actions(
        &self,
        request: impl IntoRequest<ListOperatorActionsRequest>,
    ) -> Result<ListOperatorActionsResponse, CallError> {
        let send =
            |channel, request| async move { AdminServiceClient::new(channel).list_operator_actions(request).await };
        self.call(request.into_request(), send).await
    }
}

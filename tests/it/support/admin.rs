//! Calls to AdminService, as short as a test wants them.

use flashsale::pb::{
    AdjustStockRequest, GetSaleStatsRequest, GetSaleStatsResponse, ListPaymentExceptionsRequest,
    ListPaymentExceptionsResponse, PaymentException, Product, ResolvePaymentExceptionRequest, UpdateProductRequest,
};
use prost_types::FieldMask;
use tonic::Status;

use super::client::Clients;

impl Clients {
    /// UpdateProduct of the fields named.
    pub(crate) async fn update(&self, product: Product, paths: &[&str]) -> Result<Product, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.update_by(UpdateProductRequest { product: Some(product), update_mask: Some(FieldMask { paths }) }).await
    }

    /// UpdateProduct.
    pub(crate) async fn update_by(&self, request: UpdateProductRequest) -> Result<Product, Status> {
        let response = self.admin.clone().update_product(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// Pauses a product's sale, or goes on with it.
    pub(crate) async fn pause(&self, product_id: i64, paused: bool) -> Result<Product, Status> {
        self.update(Product { product_id, paused, ..Default::default() }, &["paused"]).await
    }

    /// AdjustStock for some reason.
    pub(crate) async fn adjust(&self, product_id: i64, delta: i64, request_id: &str) -> Result<Product, Status> {
        let (reason, request_id) = ("counted again".to_owned(), request_id.to_owned());
        self.adjust_by(AdjustStockRequest { product_id, delta, reason, request_id }).await
    }

    /// AdjustStock.
    pub(crate) async fn adjust_by(&self, request: AdjustStockRequest) -> Result<Product, Status> {
        let response = self.admin.clone().adjust_stock(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// GetSaleStats.
    pub(crate) async fn stats(&self, product_id: i64) -> Result<GetSaleStatsResponse, Status> {
        let response = self.admin.clone().get_sale_stats(GetSaleStatsRequest { product_id }).await?;
        Ok(response.into_inner())
    }

    /// ListPaymentExceptions.
    pub(crate) async fn exceptions_by(
        &self,
        request: ListPaymentExceptionsRequest,
    ) -> Result<ListPaymentExceptionsResponse, Status> {
        let response = self.admin.clone().list_payment_exceptions(request).await?;
        Ok(response.into_inner())
    }

    /// What has to be done about payments: the first page of ListPaymentExceptions.
    pub(crate) async fn exceptions(&self) -> Vec<PaymentException> {
        self.exceptions_by(ListPaymentExceptionsRequest::default()).await.unwrap().exceptions
    }

    /// ResolvePaymentException.
    pub(crate) async fn resolve(&self, exception_id: i64, note: &str) -> Result<PaymentException, Status> {
        let request = ResolvePaymentExceptionRequest { exception_id, note: note.to_owned() };
        let response = self.admin.clone().resolve_payment_exception(request).await?;
        Ok(response.into_inner().exception.unwrap())
    }
}

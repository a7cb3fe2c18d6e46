//! Calls AdminService with few words.

use flashsale::pb::{
    AdjustStockRequest, GetSaleStatsRequest, GetSaleStatsResponse, ListPaymentExceptionsRequest,
    ListPaymentExceptionsResponse, PaymentException, Product, ResolvePaymentExceptionRequest, UpdateProductRequest,
};
use prost_types::FieldMask;
use tonic::Status;

use super::client::Clients;

impl Clients {
    /// Calls UpdateProduct with the named fields as its mask.
    pub async fn update(&self, product: Product, paths: &[&str]) -> Result<Product, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.update_by(UpdateProductRequest { product: Some(product), update_mask: Some(FieldMask { paths }) }).await
    }

    /// Calls UpdateProduct.
    pub async fn update_by(&self, request: UpdateProductRequest) -> Result<Product, Status> {
        let response = self.admin.clone().update_product(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// Pauses or resumes a product's sale.
    pub async fn pause(&self, product_id: i64, paused: bool) -> Result<Product, Status> {
        self.update(Product { product_id, paused, ..Default::default() }, &["paused"]).await
    }

    /// Calls AdjustStock with a reason that doesn't matter.
    pub async fn adjust(&self, product_id: i64, delta: i64, request_id: &str) -> Result<Product, Status> {
        let (reason, request_id) = ("counted again".to_owned(), request_id.to_owned());
        self.adjust_by(AdjustStockRequest { product_id, delta, reason, request_id }).await
    }

    /// Calls AdjustStock.
    pub async fn adjust_by(&self, request: AdjustStockRequest) -> Result<Product, Status> {
        let response = self.admin.clone().adjust_stock(request).await?;
        Ok(response.into_inner().product.unwrap())
    }

    /// Calls GetSaleStats.
    pub async fn stats(&self, product_id: i64) -> Result<GetSaleStatsResponse, Status> {
        let response = self.admin.clone().get_sale_stats(GetSaleStatsRequest { product_id }).await?;
        Ok(response.into_inner())
    }

    /// Calls ListPaymentExceptions.
    pub async fn exceptions_by(
        &self,
        request: ListPaymentExceptionsRequest,
    ) -> Result<ListPaymentExceptionsResponse, Status> {
        let response = self.admin.clone().list_payment_exceptions(request).await?;
        Ok(response.into_inner())
    }

    /// Returns the first page of the payment exceptions that nobody has resolved.
    pub async fn exceptions(&self) -> Vec<PaymentException> {
        self.exceptions_by(ListPaymentExceptionsRequest::default()).await.unwrap().exceptions
    }

    /// Calls ResolvePaymentException.
    pub async fn resolve(&self, exception_id: i64, note: &str) -> Result<PaymentException, Status> {
        let request = ResolvePaymentExceptionRequest { exception_id, note: note.to_owned() };
        let response = self.admin.clone().resolve_payment_exception(request).await?;
        Ok(response.into_inner().exception.unwrap())
    }
}

//! The RPCs of AdminService, which an operator calls.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    convert::{self, BadFields, failed, limit, not_negative, timestamp},
    gate::Gate,
    page_token::Listing,
    update_mask,
};
use crate::{
    checkout::{AdjustStock, CreateProduct, ListPaymentExceptions, ResolvePaymentException, request_id_or_made_up},
    domain::{
        Invalid, NewProduct, PaymentExceptionId, ProductId, ProductName, Remark, RequestId, StockDelta,
        product::check_window,
    },
    error::Error,
    pb::{
        AdjustStockRequest, AdjustStockResponse, CreateProductRequest, CreateProductResponse, GetSaleStatsRequest,
        GetSaleStatsResponse, ListPaymentExceptionsRequest, ListPaymentExceptionsResponse,
        ResolvePaymentExceptionRequest, ResolvePaymentExceptionResponse, UpdateProductRequest, UpdateProductResponse,
        admin_service_server::AdminService,
    },
};

/// Says how many exceptions a page has where the caller sets no page_size.
const PAGE_SIZE_DEFAULT: usize = 50;
/// Limits the exceptions on a page.
const PAGE_SIZE_MAX: usize = 1000;

/// Answers the RPCs of the service by a checkout.
#[derive(Debug)]
pub(super) struct AdminRpcs {
    gate: Arc<Gate>,
}

impl AdminRpcs {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

fn create_product(request: &CreateProductRequest) -> Result<CreateProduct, Error> {
    let mut bad = BadFields::default();
    let name = bad.take(ProductName::parse(&request.name));
    let price_cents = bad.take(not_negative("price_cents", request.price_cents));
    let total_stock = bad.take(not_negative("total_stock", request.total_stock));
    let max_per_buyer = bad.take_optional(request.max_per_buyer.map(|value| limit("max_per_buyer", value)));
    let starts_at = bad.take_optional(request.starts_at.map(|time| timestamp("starts_at", time)));
    let ends_at = bad.take_optional(request.ends_at.map(|time| timestamp("ends_at", time)));
    let window = bad.take(check_window(starts_at.flatten(), ends_at.flatten()));
    let request_id = bad.take_optional(request.request_id.as_deref().map(RequestId::parse));
    let (
        Some(name),
        Some(price_cents),
        Some(total_stock),
        Some(max_per_buyer),
        Some(starts_at),
        Some(ends_at),
        Some(()),
        Some(request_id),
    ) = (name, price_cents, total_stock, max_per_buyer, starts_at, ends_at, window, request_id)
    else {
        return Err(bad.error());
    };
    let product = NewProduct { name, price_cents, total_stock, max_per_buyer, starts_at, ends_at };
    Ok(CreateProduct { product, request_id: request_id_or_made_up(request_id) })
}

fn adjust_stock(request: &AdjustStockRequest) -> Result<AdjustStock, Error> {
    let mut bad = BadFields::default();
    let product_id = bad.take(ProductId::parse(request.product_id));
    let delta = bad.take(StockDelta::parse(request.delta));
    let reason = bad.take(Remark::parse("reason", &request.reason));
    let request_id = bad.take(RequestId::parse(&request.request_id));
    let (Some(product_id), Some(delta), Some(reason), Some(request_id)) = (product_id, delta, reason, request_id)
    else {
        return Err(bad.error());
    };
    Ok(AdjustStock { product_id, delta, reason, request_id })
}

/// Returns the size of a page: the default for 0, and the limit for anything above it.
fn page_size(value: i32) -> Result<usize, Invalid> {
    match usize::try_from(value) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(Invalid::new("page_size", format!("must be at least 0, got {value}"))),
    }
}

fn list_payment_exceptions(request: &ListPaymentExceptionsRequest) -> Result<(Listing, ListPaymentExceptions), Error> {
    let mut bad = BadFields::default();
    let page_size = bad.take(page_size(request.page_size));
    let product_id = bad.take_optional(request.product_id.map(ProductId::parse));
    let include_resolved = request.include_resolved.unwrap_or(false);
    let listing = Listing { product_id: product_id.flatten(), include_resolved };
    let before = bad.take(listing.parse(&request.page_token));
    let (Some(page_size), Some(product_id), Some(before)) = (page_size, product_id, before) else {
        return Err(bad.error());
    };
    Ok((listing, ListPaymentExceptions { product_id, include_resolved, before, page_size }))
}

fn resolve_payment_exception(request: &ResolvePaymentExceptionRequest) -> Result<ResolvePaymentException, Error> {
    let mut bad = BadFields::default();
    let id = bad.take(PaymentExceptionId::parse(request.exception_id));
    let note = bad.take(Remark::parse("note", &request.note));
    let (Some(id), Some(note)) = (id, note) else { return Err(bad.error()) };
    Ok(ResolvePaymentException { id, note })
}

#[tonic::async_trait]
impl AdminService for AdminRpcs {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let command = create_product(request.get_ref()).map_err(failed)?;
        let product = self.gate.checkout().await.map_err(failed)?.create_product(command).await.map_err(failed)?;
        Ok(Response::new(CreateProductResponse { product: Some(convert::product(product)) }))
    }

    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<UpdateProductResponse>, Status> {
        let command = update_mask::command(request.get_ref()).map_err(failed)?;
        let product = self.gate.checkout().await.map_err(failed)?.update_product(command).await.map_err(failed)?;
        Ok(Response::new(UpdateProductResponse { product: Some(convert::product(product)) }))
    }

    async fn adjust_stock(
        &self,
        request: Request<AdjustStockRequest>,
    ) -> Result<Response<AdjustStockResponse>, Status> {
        let command = adjust_stock(request.get_ref()).map_err(failed)?;
        let product = self.gate.checkout().await.map_err(failed)?.adjust_stock(command).await.map_err(failed)?;
        Ok(Response::new(AdjustStockResponse { product: Some(convert::product(product)) }))
    }

    async fn get_sale_stats(
        &self,
        request: Request<GetSaleStatsRequest>,
    ) -> Result<Response<GetSaleStatsResponse>, Status> {
        let id = ProductId::parse(request.get_ref().product_id).map_err(|invalid| failed(invalid.into()))?;
        let stats = self.gate.checkout().await.map_err(failed)?.get_sale_stats(id).await.map_err(failed)?;
        Ok(Response::new(convert::sale_stats(stats)))
    }

    async fn list_payment_exceptions(
        &self,
        request: Request<ListPaymentExceptionsRequest>,
    ) -> Result<Response<ListPaymentExceptionsResponse>, Status> {
        let (listing, command) = list_payment_exceptions(request.get_ref()).map_err(failed)?;
        let page =
            self.gate.checkout().await.map_err(failed)?.list_payment_exceptions(command).await.map_err(failed)?;
        let last = page.exceptions.last().filter(|_| page.more);
        let next_page_token = last.map(|last| listing.token(last.id)).unwrap_or_default();
        let exceptions = page.exceptions.into_iter().map(convert::payment_exception).collect();
        Ok(Response::new(ListPaymentExceptionsResponse { exceptions, next_page_token }))
    }

    async fn resolve_payment_exception(
        &self,
        request: Request<ResolvePaymentExceptionRequest>,
    ) -> Result<Response<ResolvePaymentExceptionResponse>, Status> {
        let command = resolve_payment_exception(request.get_ref()).map_err(failed)?;
        let exception =
            self.gate.checkout().await.map_err(failed)?.resolve_payment_exception(command).await.map_err(failed)?;
        Ok(Response::new(ResolvePaymentExceptionResponse { exception: Some(convert::payment_exception(exception)) }))
    }
}

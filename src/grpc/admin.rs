//! The RPCs of AdminService, which an operator calls.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    convert::{self, BadFields, failed, limit, not_negative, timestamp},
    gate::Gate,
    lists, update_mask,
};
use crate::{
    access::Caller,
    checkout::{
        AcceptPayment, AdjustStock, CreateProduct, ResolvePaymentException,
        operator_actions::{Method, record_early},
        request_id_or_made_up,
    },
    domain::{
        NewProduct, PaymentExceptionId, Principal, ProductId, ProductName, Remark, RequestId, StockDelta,
        product::check_window,
    },
    error::Error,
    pb::{
        AcceptPaymentRequest, AcceptPaymentResponse, AdjustStockRequest, AdjustStockResponse, CreateProductRequest,
        CreateProductResponse, GetSaleStatsRequest, GetSaleStatsResponse, ListHoldsRequest, ListHoldsResponse,
        ListOperatorActionsRequest, ListOperatorActionsResponse, ListOrdersRequest, ListOrdersResponse,
        ListPaymentEventsRequest, ListPaymentEventsResponse, ListPaymentExceptionsRequest,
        ListPaymentExceptionsResponse, ListProductsRequest, ListProductsResponse, ResolvePaymentExceptionRequest,
        ResolvePaymentExceptionResponse, UpdateProductRequest, UpdateProductResponse,
        admin_service_server::AdminService,
    },
};

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

/// Names the caller of a call, for what an operator's call leaves behind.
pub(super) fn principal_of(caller: Option<&Caller>) -> Principal {
    caller.and_then(Caller::principal).map_or_else(Principal::unknown, |name| Principal::named(name))
}

fn principal<T>(request: &Request<T>) -> Principal {
    principal_of(request.extensions().get())
}

/// Returns the status of a call that was refused before it became a command, and logs the call.
fn early<T>(request: &Request<T>, method: Method) -> impl Fn(Error) -> Status {
    let principal = principal(request);
    move |error| {
        record_early(&principal, method, error.reason());
        failed(error)
    }
}

pub(super) fn create_product(request: &CreateProductRequest, principal: Principal) -> Result<CreateProduct, Error> {
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
    Ok(CreateProduct { product, request_id: request_id_or_made_up(request_id), principal })
}

pub(super) fn adjust_stock(request: &AdjustStockRequest, principal: Principal) -> Result<AdjustStock, Error> {
    let mut bad = BadFields::default();
    let product_id = bad.take(ProductId::parse(request.product_id));
    let delta = bad.take(StockDelta::parse(request.delta));
    let reason = bad.take(Remark::parse("reason", &request.reason));
    let request_id = bad.take(RequestId::parse(&request.request_id));
    let (Some(product_id), Some(delta), Some(reason), Some(request_id)) = (product_id, delta, reason, request_id)
    else {
        return Err(bad.error());
    };
    Ok(AdjustStock { product_id, delta, reason, request_id, principal })
}

pub(super) fn resolve_payment_exception(
    request: &ResolvePaymentExceptionRequest,
    principal: Principal,
) -> Result<ResolvePaymentException, Error> {
    let mut bad = BadFields::default();
    let id = bad.take(PaymentExceptionId::parse(request.exception_id));
    let note = bad.take(Remark::parse("note", &request.note));
    let (Some(id), Some(note)) = (id, note) else { return Err(bad.error()) };
    Ok(ResolvePaymentException { id, note, principal })
}

pub(super) fn accept_payment(request: &AcceptPaymentRequest, principal: Principal) -> Result<AcceptPayment, Error> {
    let mut bad = BadFields::default();
    let id = bad.take(PaymentExceptionId::parse(request.exception_id));
    let note = bad.take(Remark::parse("note", &request.note));
    let (Some(id), Some(note)) = (id, note) else { return Err(bad.error()) };
    Ok(AcceptPayment { id, note, principal })
}

#[tonic::async_trait]
impl AdminService for AdminRpcs {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let early = early(&request, Method::CreateProduct);
        let command = create_product(request.get_ref(), principal(&request)).map_err(&early)?;
        let product = self.gate.checkout().await.map_err(early)?.create_product(command).await.map_err(failed)?;
        Ok(Response::new(CreateProductResponse { product: Some(convert::product(product)) }))
    }

    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<UpdateProductResponse>, Status> {
        let early = early(&request, Method::UpdateProduct);
        let command = update_mask::command(request.get_ref(), principal(&request)).map_err(&early)?;
        let product = self.gate.checkout().await.map_err(early)?.update_product(command).await.map_err(failed)?;
        Ok(Response::new(UpdateProductResponse { product: Some(convert::product(product)) }))
    }

    async fn adjust_stock(
        &self,
        request: Request<AdjustStockRequest>,
    ) -> Result<Response<AdjustStockResponse>, Status> {
        let early = early(&request, Method::AdjustStock);
        let command = adjust_stock(request.get_ref(), principal(&request)).map_err(&early)?;
        let product = self.gate.checkout().await.map_err(early)?.adjust_stock(command).await.map_err(failed)?;
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
        let (listing, command) = lists::payment_exceptions(request.get_ref()).map_err(failed)?;
        let checkout = self.gate.checkout().await.map_err(failed)?;
        let page = checkout.list_payment_exceptions(command).await.map_err(failed)?;
        let (exceptions, next_page_token) = listing.show(page, convert::payment_exception);
        Ok(Response::new(ListPaymentExceptionsResponse { exceptions, next_page_token }))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let (listing, command) = lists::products(request.get_ref()).map_err(failed)?;
        let page = self.gate.checkout().await.map_err(failed)?.list_products(command).await.map_err(failed)?;
        let (products, next_page_token) = listing.show(page, convert::product);
        Ok(Response::new(ListProductsResponse { products, next_page_token }))
    }

    async fn list_holds(&self, request: Request<ListHoldsRequest>) -> Result<Response<ListHoldsResponse>, Status> {
        let (listing, command) = lists::holds(request.get_ref()).map_err(failed)?;
        let page = self.gate.checkout().await.map_err(failed)?.list_holds(command).await.map_err(failed)?;
        let (holds, next_page_token) = listing.show(page, convert::hold);
        Ok(Response::new(ListHoldsResponse { holds, next_page_token }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let (listing, command) = lists::orders(request.get_ref()).map_err(failed)?;
        let page = self.gate.checkout().await.map_err(failed)?.list_orders(command).await.map_err(failed)?;
        let (orders, next_page_token) = listing.show(page, convert::order);
        Ok(Response::new(ListOrdersResponse { orders, next_page_token }))
    }

    async fn list_payment_events(
        &self,
        request: Request<ListPaymentEventsRequest>,
    ) -> Result<Response<ListPaymentEventsResponse>, Status> {
        let (listing, command) = lists::payment_events(request.get_ref()).map_err(failed)?;
        let page = self.gate.checkout().await.map_err(failed)?.list_payment_events(command).await.map_err(failed)?;
        let (events, next_page_token) = listing.show(page, convert::payment_event);
        Ok(Response::new(ListPaymentEventsResponse { events, next_page_token }))
    }

    async fn list_operator_actions(
        &self,
        request: Request<ListOperatorActionsRequest>,
    ) -> Result<Response<ListOperatorActionsResponse>, Status> {
        let (listing, command) = lists::operator_actions(request.get_ref()).map_err(failed)?;
        let page = self.gate.checkout().await.map_err(failed)?.list_operator_actions(command).await.map_err(failed)?;
        let (actions, next_page_token) = listing.show(page, convert::operator_action);
        Ok(Response::new(ListOperatorActionsResponse { actions, next_page_token }))
    }

    async fn accept_payment(
        &self,
        request: Request<AcceptPaymentRequest>,
    ) -> Result<Response<AcceptPaymentResponse>, Status> {
        let early = early(&request, Method::AcceptPayment);
        let command = accept_payment(request.get_ref(), principal(&request)).map_err(&early)?;
        let accepted = self.gate.checkout().await.map_err(early)?.accept_payment(command).await.map_err(failed)?;
        Ok(Response::new(AcceptPaymentResponse {
            exception: Some(convert::payment_exception(accepted.exception)),
            order: Some(convert::order(accepted.order)),
        }))
    }

    async fn resolve_payment_exception(
        &self,
        request: Request<ResolvePaymentExceptionRequest>,
    ) -> Result<Response<ResolvePaymentExceptionResponse>, Status> {
        let early = early(&request, Method::ResolvePaymentException);
        let command = resolve_payment_exception(request.get_ref(), principal(&request)).map_err(&early)?;
        let checkout = self.gate.checkout().await.map_err(early)?;
        let exception = checkout.resolve_payment_exception(command).await.map_err(failed)?;
        Ok(Response::new(ResolvePaymentExceptionResponse { exception: Some(convert::payment_exception(exception)) }))
    }
}

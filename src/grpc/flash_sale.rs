//! The RPCs of FlashSaleService, which a shop calls.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    convert::{self, BadFields, failed, not_negative},
    gate::Gate,
};
use crate::{
    checkout::{CreateHold, CreateOrder, create_hold::record_early, request_id_or_made_up},
    domain::{BuyerId, HoldId, OrderId, ProductId, Quantity, RequestId},
    error::Error,
    pb::{
        CancelOrderRequest, CancelOrderResponse, CreateHoldRequest, CreateHoldResponse, CreateOrderRequest,
        CreateOrderResponse, GetHoldRequest, GetHoldResponse, GetOrderRequest, GetOrderResponse, GetProductRequest,
        GetProductResponse, ReleaseHoldRequest, ReleaseHoldResponse, flash_sale_service_server::FlashSaleService,
    },
};

/// Answers the RPCs of the service by a checkout.
#[derive(Debug)]
pub(super) struct FlashSaleRpcs {
    gate: Arc<Gate>,
}

impl FlashSaleRpcs {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

pub(super) fn create_hold(request: &CreateHoldRequest) -> Result<CreateHold, Error> {
    let CreateHoldRequest { product_id, qty, request_id, buyer_id, expected_unit_price_cents } = request;
    let mut bad = BadFields::default();
    let product_id = bad.take(ProductId::parse(*product_id));
    let qty = bad.take(Quantity::parse(*qty));
    let request_id = bad.take_optional(request_id.as_deref().map(RequestId::parse));
    let buyer_id = bad.take_optional(buyer_id.as_deref().map(BuyerId::parse));
    let expected = expected_unit_price_cents.map(|cents| not_negative("expected_unit_price_cents", cents));
    let expected = bad.take_optional(expected);
    let (Some(product_id), Some(qty), Some(request_id), Some(buyer_id), Some(expected_unit_price_cents)) =
        (product_id, qty, request_id, buyer_id, expected)
    else {
        return Err(bad.error());
    };
    let request_id = request_id_or_made_up(request_id);
    Ok(CreateHold { product_id, qty, request_id, buyer_id, expected_unit_price_cents })
}

pub(super) fn create_order(request: &CreateOrderRequest) -> Result<CreateOrder, Error> {
    let CreateOrderRequest { hold_id, request_id, buyer_id } = request;
    let mut bad = BadFields::default();
    let hold_id = bad.take(HoldId::parse(*hold_id));
    let request_id = bad.take_optional(request_id.as_deref().map(RequestId::parse));
    let buyer_id = bad.take_optional(buyer_id.as_deref().map(BuyerId::parse));
    let (Some(hold_id), Some(request_id), Some(buyer_id)) = (hold_id, request_id, buyer_id) else {
        return Err(bad.error());
    };
    Ok(CreateOrder { hold_id, request_id: request_id_or_made_up(request_id), buyer_id })
}

#[tonic::async_trait]
impl FlashSaleService for FlashSaleRpcs {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let id = ProductId::parse(request.get_ref().product_id).map_err(|invalid| failed(invalid.into()))?;
        let product = self.gate.checkout().await.map_err(failed)?.get_product(id).await.map_err(failed)?;
        Ok(Response::new(GetProductResponse { product: Some(convert::product(product)) }))
    }

    async fn create_hold(&self, request: Request<CreateHoldRequest>) -> Result<Response<CreateHoldResponse>, Status> {
        let early = |error: Error| {
            record_early(&error);
            failed(error)
        };
        let command = create_hold(request.get_ref()).map_err(early)?;
        let hold = self.gate.checkout().await.map_err(early)?.create_hold(command).await.map_err(failed)?;
        Ok(Response::new(CreateHoldResponse { hold: Some(convert::hold(hold)) }))
    }

    async fn get_hold(&self, request: Request<GetHoldRequest>) -> Result<Response<GetHoldResponse>, Status> {
        let id = HoldId::parse(request.get_ref().hold_id).map_err(|invalid| failed(invalid.into()))?;
        let hold = self.gate.checkout().await.map_err(failed)?.get_hold(id).await.map_err(failed)?;
        Ok(Response::new(GetHoldResponse { hold: Some(convert::hold(hold)) }))
    }

    async fn release_hold(
        &self,
        request: Request<ReleaseHoldRequest>,
    ) -> Result<Response<ReleaseHoldResponse>, Status> {
        let id = HoldId::parse(request.get_ref().hold_id).map_err(|invalid| failed(invalid.into()))?;
        let hold = self.gate.checkout().await.map_err(failed)?.release_hold(id).await.map_err(failed)?;
        Ok(Response::new(ReleaseHoldResponse { hold: Some(convert::hold(hold)) }))
    }

    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let command = create_order(request.get_ref()).map_err(failed)?;
        let order = self.gate.checkout().await.map_err(failed)?.create_order(command).await.map_err(failed)?;
        Ok(Response::new(CreateOrderResponse { order: Some(convert::order(order)) }))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let id = OrderId::parse(request.get_ref().order_id).map_err(|invalid| failed(invalid.into()))?;
        let order = self.gate.checkout().await.map_err(failed)?.cancel_order(id).await.map_err(failed)?;
        Ok(Response::new(CancelOrderResponse { order: Some(convert::order(order)) }))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let id = OrderId::parse(request.get_ref().order_id).map_err(|invalid| failed(invalid.into()))?;
        let order = self.gate.checkout().await.map_err(failed)?.get_order(id).await.map_err(failed)?;
        Ok(Response::new(GetOrderResponse { order: Some(convert::order(order)) }))
    }
}

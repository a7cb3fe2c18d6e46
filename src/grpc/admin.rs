//! AdminService: what an operator calls.

use tonic::{Request, Response, Status};

use super::convert::{self, Fields, failed, moment, not_negative};
use crate::{
    checkout::{Checkout, CreateProduct, request_id_or_made_up},
    domain::{Invalid, NewProduct, ProductName, RequestId, product::check_window},
    error::Error,
    pb::{CreateProductRequest, CreateProductResponse, admin_service_server::AdminService},
};

/// The service on a checkout.
#[derive(Debug)]
pub(super) struct Service {
    checkout: Checkout,
}

impl Service {
    pub(super) fn new(checkout: Checkout) -> Self {
        Self { checkout }
    }
}

fn limit(value: i32) -> Result<i32, Invalid> {
    if value < 1 {
        return Err(Invalid::new("max_per_buyer", format!("must be at least 1, got {value}")));
    }
    Ok(value)
}

fn create_product(request: &CreateProductRequest) -> Result<CreateProduct, Error> {
    let mut fields = Fields::default();
    let name = fields.take(ProductName::parse(&request.name));
    let price_cents = fields.take(not_negative("price_cents", request.price_cents));
    let total_stock = fields.take(not_negative("total_stock", request.total_stock));
    let max_per_buyer = fields.take_optional(request.max_per_buyer.map(limit));
    let starts_at = fields.take_optional(request.starts_at.map(|time| moment("starts_at", time)));
    let ends_at = fields.take_optional(request.ends_at.map(|time| moment("ends_at", time)));
    let window = fields.take(check_window(starts_at.flatten(), ends_at.flatten()));
    let request_id = fields.take_optional(request.request_id.as_deref().map(RequestId::parse));
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
        return Err(fields.error());
    };
    let product = NewProduct { name, price_cents, total_stock, max_per_buyer, starts_at, ends_at };
    Ok(CreateProduct { product, request_id: request_id_or_made_up(request_id) })
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let command = create_product(request.get_ref()).map_err(failed)?;
        let product = self.checkout.create_product(command).await.map_err(failed)?;
        Ok(Response::new(CreateProductResponse { product: Some(convert::product(product)) }))
    }
}

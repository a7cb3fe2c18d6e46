//! Serves the Redis design: one Lua script checks, decrements and records the hold, over one pipelining connection.
//!
//! It does less than the service: there is no request_id, no limit and no window, and expired holds give nothing back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flashsale::pb::{
    CreateHoldRequest, CreateHoldResponse, CreateProductRequest, CreateProductResponse, GetProductRequest,
    GetProductResponse, Hold, HoldStatus, Product, admin_service_server::AdminService,
    flash_sale_service_server::FlashSaleService, payment_service_server::PaymentService,
};
use redis::{AsyncCommands, Script, aio::MultiplexedConnection};
use tonic::{Request, Response, Status};

use super::{failed, not_compared, out_of_stock};

const HOLD_TTL: Duration = Duration::from_secs(120);
/// Returns the hold's id, 0 where there is too little stock, and -1 where there is no such product.
const HOLD: &str = "
local stock = tonumber(redis.call('GET', KEYS[1]))
if not stock then return -1 end
local qty = tonumber(ARGV[1])
if stock < qty then return 0 end
redis.call('DECRBY', KEYS[1], qty)
local id = redis.call('INCR', 'holds')
redis.call('HSET', 'hold:' .. id, 'product', KEYS[1], 'qty', qty, 'status', 'active', 'expires_at', ARGV[2])
return id
";

#[derive(Clone)]
pub(super) struct Redis {
    connection: MultiplexedConnection,
    hold: Script,
}

impl Redis {
    pub(super) async fn connect(url: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self { connection, hold: Script::new(HOLD) }
    }
}

fn key(product_id: i64) -> String {
    format!("stock:{product_id}")
}

#[tonic::async_trait]
impl FlashSaleService for Redis {
    async fn create_hold(&self, request: Request<CreateHoldRequest>) -> Result<Response<CreateHoldResponse>, Status> {
        let CreateHoldRequest { product_id, qty, .. } = request.into_inner();
        let created_at = SystemTime::now();
        let expires_at = created_at + HOLD_TTL;
        let micros = expires_at.duration_since(UNIX_EPOCH).map_err(failed)?.as_micros();
        let mut hold = self.hold.prepare_invoke();
        hold.key(key(product_id)).arg(qty).arg(micros.to_string());
        let hold_id: i64 = hold.invoke_async(&mut self.connection.clone()).await.map_err(failed)?;
        match hold_id {
            -1 => Err(Status::not_found("no such product")),
            0 => Err(out_of_stock()),
            hold_id => {
                let hold = Hold {
                    hold_id,
                    product_id,
                    qty,
                    unit_price_cents: 1000,
                    status: HoldStatus::Active.into(),
                    expires_at: Some(expires_at.into()),
                    created_at: Some(created_at.into()),
                    buyer_id: None,
                };
                Ok(Response::new(CreateHoldResponse { hold: Some(hold) }))
            }
        }
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let product_id = request.into_inner().product_id;
        let available_stock: i64 = self.connection.clone().get(key(product_id)).await.map_err(failed)?;
        let product = Product { product_id, available_stock, ..Default::default() };
        Ok(Response::new(GetProductResponse { product: Some(product) }))
    }

    not_compared! {
        get_hold(GetHoldRequest) -> GetHoldResponse;
        release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse;
        create_order(CreateOrderRequest) -> CreateOrderResponse;
        get_order(GetOrderRequest) -> GetOrderResponse;
        cancel_order(CancelOrderRequest) -> CancelOrderResponse;
    }
}

#[tonic::async_trait]
impl PaymentService for Redis {
    not_compared! {
        handle_payment_webhook(HandlePaymentWebhookRequest) -> HandlePaymentWebhookResponse;
    }
}

#[tonic::async_trait]
impl AdminService for Redis {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let CreateProductRequest { name, price_cents, total_stock, .. } = request.into_inner();
        let mut connection = self.connection.clone();
        let product_id: i64 = connection.incr("products", 1).await.map_err(failed)?;
        let _: () = connection.set(key(product_id), total_stock).await.map_err(failed)?;
        let available_stock = total_stock;
        let product = Product { product_id, name, price_cents, total_stock, available_stock, ..Default::default() };
        Ok(Response::new(CreateProductResponse { product: Some(product) }))
    }

    not_compared! {
        update_product(UpdateProductRequest) -> UpdateProductResponse;
        adjust_stock(AdjustStockRequest) -> AdjustStockResponse;
        get_sale_stats(GetSaleStatsRequest) -> GetSaleStatsResponse;
        list_payment_exceptions(ListPaymentExceptionsRequest) -> ListPaymentExceptionsResponse;
        resolve_payment_exception(ResolvePaymentExceptionRequest) -> ResolvePaymentExceptionResponse;
        accept_payment(AcceptPaymentRequest) -> AcceptPaymentResponse;
        list_products(ListProductsRequest) -> ListProductsResponse;
        list_holds(ListHoldsRequest) -> ListHoldsResponse;
        list_orders(ListOrdersRequest) -> ListOrdersResponse;
        list_payment_events(ListPaymentEventsRequest) -> ListPaymentEventsResponse;
        list_operator_actions(ListOperatorActionsRequest) -> ListOperatorActionsResponse;
    }
}

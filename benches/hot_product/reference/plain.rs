//! Serves the plain design: one transaction per request, on the service's own tables.
//!
//! The handler runs BEGIN, SELECT … FOR UPDATE, INSERT, UPDATE and COMMIT by diesel's query builder, with a pool like
//! the service's.

use std::time::{Duration, SystemTime};

use chrono::{NaiveDateTime, Utc};
use deadpool::Runtime;
use diesel::{dsl::sql, prelude::*, sql_types::BigInt};
use diesel_async::{
    AsyncConnection, AsyncMysqlConnection, RunQueryDsl,
    pooled_connection::{AsyncDieselConnectionManager, deadpool::Pool},
};
use flashsale::pb::{
    CreateHoldRequest, CreateHoldResponse, CreateOrderRequest, CreateOrderResponse, CreateProductRequest,
    CreateProductResponse, GetProductRequest, GetProductResponse, HandlePaymentWebhookRequest,
    HandlePaymentWebhookResponse, Hold, HoldStatus, Order, OrderStatus, Product, admin_service_server::AdminService,
    flash_sale_service_server::FlashSaleService, payment_service_server::PaymentService,
};
use tonic::{Request, Response, Status};

use super::{failed, not_compared, out_of_stock};

diesel::table! {
    products (id) {
        id -> BigInt,
        name -> Text,
        price_cents -> BigInt,
        total_stock -> BigInt,
        available_stock -> BigInt,
        request_id -> Binary,
        request_digest -> Binary,
        created_at -> Timestamp,
    }
}
diesel::table! {
    holds (id) {
        id -> BigInt,
        product_id -> BigInt,
        qty -> Integer,
        unit_price_cents -> BigInt,
        status -> Text,
        expires_at -> Timestamp,
        created_at -> Timestamp,
        request_id -> Binary,
    }
}
diesel::table! {
    orders (id) {
        id -> BigInt,
        hold_id -> BigInt,
        product_id -> BigInt,
        qty -> Integer,
        amount_cents -> BigInt,
        status -> Text,
        created_at -> Timestamp,
        request_id -> Binary,
    }
}
diesel::table! {
    payment_webhooks (id) {
        id -> BigInt,
        idempotency_key -> Binary,
        order_id -> BigInt,
        product_id -> BigInt,
        status -> Text,
        order_status -> Text,
        result -> Text,
        created_at -> Timestamp,
    }
}

/// The service's default.
const POOL_SIZE: usize = 16;
const HOLD_TTL: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub(super) struct Plain {
    pool: Pool<AsyncMysqlConnection>,
}

/// Holds the status that a caller gets after a rollback.
struct Failed(Status);

impl From<diesel::result::Error> for Failed {
    fn from(error: diesel::result::Error) -> Self {
        Self(failed(error))
    }
}

impl Plain {
    pub(super) fn new(url: &str) -> Self {
        let manager = AsyncDieselConnectionManager::<AsyncMysqlConnection>::new(url);
        let pool = Pool::builder(manager).max_size(POOL_SIZE).runtime(Runtime::Tokio1).build().unwrap();
        Self { pool }
    }
}

fn now() -> NaiveDateTime {
    Utc::now().naive_utc()
}

fn timestamp(moment: NaiveDateTime) -> prost_types::Timestamp {
    SystemTime::from(moment.and_utc()).into()
}

async fn last_insert_id(conn: &mut AsyncMysqlConnection) -> QueryResult<i64> {
    diesel::select(sql::<BigInt>("CAST(LAST_INSERT_ID() AS SIGNED)")).get_result(conn).await
}

async fn hold(conn: &mut AsyncMysqlConnection, product_id: i64, qty: i32) -> Result<Hold, Failed> {
    let product = products::table.find(product_id).select((products::price_cents, products::available_stock));
    let (unit_price_cents, available): (i64, i64) = product.for_update().first(conn).await?;
    if available < i64::from(qty) {
        return Err(Failed(out_of_stock()));
    }
    let created_at = now();
    let expires_at = created_at + HOLD_TTL;
    diesel::insert_into(holds::table)
        .values((
            holds::product_id.eq(product_id),
            holds::qty.eq(qty),
            holds::unit_price_cents.eq(unit_price_cents),
            holds::expires_at.eq(expires_at),
            holds::created_at.eq(created_at),
            holds::request_id.eq(rand::random::<[u8; 16]>().as_slice()),
        ))
        .execute(conn)
        .await?;
    let hold_id = last_insert_id(conn).await?;
    diesel::update(products::table.find(product_id))
        .set(products::available_stock.eq(products::available_stock - i64::from(qty)))
        .execute(conn)
        .await?;
    Ok(Hold {
        hold_id,
        product_id,
        qty,
        unit_price_cents,
        status: HoldStatus::Active.into(),
        expires_at: Some(timestamp(expires_at)),
        created_at: Some(timestamp(created_at)),
        buyer_id: None,
    })
}

async fn order(conn: &mut AsyncMysqlConnection, hold_id: i64) -> Result<Order, Failed> {
    let hold = holds::table.find(hold_id).for_update();
    let columns = (holds::product_id, holds::qty, holds::unit_price_cents, holds::status, holds::expires_at);
    let (product_id, qty, price, status, expires_at): (i64, i32, i64, String, NaiveDateTime) =
        hold.select(columns).first(conn).await?;
    let created_at = now();
    if status != "active" || expires_at < created_at {
        return Err(Failed(Status::failed_precondition("the hold can't become an order")));
    }
    let amount_cents = i64::from(qty) * price;
    diesel::insert_into(orders::table)
        .values((
            orders::hold_id.eq(hold_id),
            orders::product_id.eq(product_id),
            orders::qty.eq(qty),
            orders::amount_cents.eq(amount_cents),
            orders::created_at.eq(created_at),
            orders::request_id.eq(rand::random::<[u8; 16]>().as_slice()),
        ))
        .execute(conn)
        .await?;
    let order_id = last_insert_id(conn).await?;
    diesel::update(holds::table.find(hold_id)).set(holds::status.eq("used")).execute(conn).await?;
    Ok(Order {
        order_id,
        hold_id,
        product_id,
        qty,
        amount_cents,
        status: OrderStatus::Pending.into(),
        payment_due_at: None,
        created_at: Some(timestamp(created_at)),
        ..Default::default()
    })
}

/// Stores a success with a new key for a pending order, which is all that the benchmark sends.
async fn pay(conn: &mut AsyncMysqlConnection, order_id: i64, key: &str) -> Result<(), Failed> {
    let order = orders::table.find(order_id).for_update();
    let (product_id, status): (i64, String) = order.select((orders::product_id, orders::status)).first(conn).await?;
    let known = payment_webhooks::table.filter(payment_webhooks::idempotency_key.eq(key.as_bytes()));
    let known: Option<i64> = known.select(payment_webhooks::id).first(conn).await.optional()?;
    if known.is_some() || status != "pending" {
        return Err(Failed(Status::failed_precondition("paid before")));
    }
    diesel::insert_into(payment_webhooks::table)
        .values((
            payment_webhooks::idempotency_key.eq(key.as_bytes()),
            payment_webhooks::order_id.eq(order_id),
            payment_webhooks::product_id.eq(product_id),
            payment_webhooks::status.eq("success"),
            payment_webhooks::order_status.eq("paid"),
            payment_webhooks::result.eq("applied"),
            payment_webhooks::created_at.eq(now()),
        ))
        .execute(conn)
        .await?;
    diesel::update(orders::table.find(order_id)).set(orders::status.eq("paid")).execute(conn).await?;
    Ok(())
}

/// Runs a raw transaction in the handler, as this design does.
macro_rules! transaction {
    ($plain:expr, $body:expr) => {{
        let mut conn = $plain.pool.get().await.map_err(failed)?;
        #[expect(clippy::disallowed_methods, reason = "the design that the service's own door is compared with")]
        let done = conn.transaction($body).await;
        done.map_err(|Failed(status)| status)
    }};
}

#[tonic::async_trait]
impl FlashSaleService for Plain {
    async fn create_hold(&self, request: Request<CreateHoldRequest>) -> Result<Response<CreateHoldResponse>, Status> {
        let CreateHoldRequest { product_id, qty, .. } = request.into_inner();
        let hold = transaction!(self, async |conn| hold(conn, product_id, qty).await)?;
        Ok(Response::new(CreateHoldResponse { hold: Some(hold) }))
    }

    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let hold_id = request.into_inner().hold_id;
        let order = transaction!(self, async |conn| order(conn, hold_id).await)?;
        Ok(Response::new(CreateOrderResponse { order: Some(order) }))
    }

    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let product_id = request.into_inner().product_id;
        let mut conn = self.pool.get().await.map_err(failed)?;
        let columns = (products::name, products::price_cents, products::total_stock, products::available_stock);
        let product = products::table.find(product_id).select(columns);
        let (name, price_cents, total_stock, available_stock): (String, i64, i64, i64) =
            product.first(&mut conn).await.map_err(failed)?;
        let product = Product { product_id, name, price_cents, total_stock, available_stock, ..Default::default() };
        Ok(Response::new(GetProductResponse { product: Some(product) }))
    }

    not_compared! {
        get_hold(GetHoldRequest) -> GetHoldResponse;
        release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse;
        get_order(GetOrderRequest) -> GetOrderResponse;
        cancel_order(CancelOrderRequest) -> CancelOrderResponse;
    }
}

#[tonic::async_trait]
impl PaymentService for Plain {
    async fn handle_payment_webhook(
        &self,
        request: Request<HandlePaymentWebhookRequest>,
    ) -> Result<Response<HandlePaymentWebhookResponse>, Status> {
        let HandlePaymentWebhookRequest { idempotency_key, order_id, .. } = request.into_inner();
        transaction!(self, async |conn| pay(conn, order_id, &idempotency_key).await)?;
        let order_status = OrderStatus::Paid.into();
        let answer = HandlePaymentWebhookResponse {
            order_id,
            order_status,
            idempotency_key,
            first_time: true,
            refund_required: false,
        };
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl AdminService for Plain {
    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let CreateProductRequest { name, price_cents, total_stock, .. } = request.into_inner();
        let mut conn = self.pool.get().await.map_err(failed)?;
        diesel::insert_into(products::table)
            .values((
                products::name.eq(&name),
                products::price_cents.eq(price_cents),
                products::total_stock.eq(total_stock),
                products::available_stock.eq(total_stock),
                products::request_id.eq(rand::random::<[u8; 16]>().as_slice()),
                products::request_digest.eq([0; 32].as_slice()),
                products::created_at.eq(now()),
            ))
            .execute(&mut conn)
            .await
            .map_err(failed)?;
        let product_id = last_insert_id(&mut conn).await.map_err(failed)?;
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

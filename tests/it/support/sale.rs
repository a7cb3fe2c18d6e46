//! What tests of a sale say often: requests that they add to with `..`, and short ways to a state.

use flashsale::{
    config::{SweeperCommand, SweeperConfig},
    db::Database,
    pb::{
        CreateHoldRequest, CreateOrderRequest, CreateProductRequest, HandlePaymentWebhookRequest, Order, PaymentStatus,
    },
    telemetry::LogFormat,
};
use tonic::Status;

use super::{
    client::details,
    server::{Sale, TestServer, database_config},
};

/// CreateHold without a request_id or a buyer.
pub(crate) fn hold(product_id: i64, qty: i32) -> CreateHoldRequest {
    CreateHoldRequest { product_id, qty, ..Default::default() }
}

/// CreateHold that can be repeated.
pub(crate) fn repeatable_hold(product_id: i64, qty: i32, request_id: &str) -> CreateHoldRequest {
    CreateHoldRequest { request_id: Some(request_id.to_owned()), ..hold(product_id, qty) }
}

/// CreateHold of a buyer.
pub(crate) fn hold_of(buyer_id: &str, product_id: i64, qty: i32) -> CreateHoldRequest {
    CreateHoldRequest { buyer_id: Some(buyer_id.to_owned()), ..hold(product_id, qty) }
}

/// CreateOrder that can be repeated.
pub(crate) fn repeatable_order(hold_id: i64, request_id: &str) -> CreateOrderRequest {
    CreateOrderRequest { hold_id, request_id: Some(request_id.to_owned()) }
}

/// CreateProduct at 1000 cents: on sale at once, for ever, without a limit.
pub(crate) fn product(total_stock: i64) -> CreateProductRequest {
    CreateProductRequest { name: "Shoe".to_owned(), price_cents: 1000, total_stock, ..Default::default() }
}

/// HandlePaymentWebhook.
pub(crate) fn event(
    key: &str,
    order_id: i64,
    status: PaymentStatus,
    amount_cents: Option<i64>,
) -> HandlePaymentWebhookRequest {
    HandlePaymentWebhookRequest { idempotency_key: key.to_owned(), order_id, status: status.into(), amount_cents }
}

/// The fields that an INVALID_ARGUMENT names, in its order.
pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    let details = details(status);
    let bad_request = details.bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    bad_request.field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// What an error of a missing thing names: its type and its id.
pub(crate) fn missing(status: &Status) -> (String, String) {
    let details = details(status);
    let info = details.resource_info().unwrap_or_else(|| panic!("no ResourceInfo in {status:?}"));
    (info.resource_type.clone(), info.resource_name.clone())
}

impl Sale {
    /// Puts a product on sale and returns its id.
    pub(crate) async fn product(&self, total_stock: i64) -> i64 {
        self.clients().try_create_product(product(total_stock)).await.unwrap().product_id
    }

    /// What GetProduct says is left.
    pub(crate) async fn stock(&self, product_id: i64) -> i64 {
        self.clients().available_stock(product_id).await
    }

    /// What the product's row says is available: without what is past its time and not yet taken back.
    pub(crate) async fn stored_stock(&self, product_id: i64) -> i64 {
        self.database.query_i64(&format!("SELECT available_stock FROM products WHERE id = {product_id}")).await
    }

    /// Puts a product on sale that is sold out, all of whose units are in expired holds of one unit: at most 40,000.
    pub(crate) async fn with_expired_holds(&self, count: i64) -> i64 {
        let product_id = self.product(count).await;
        let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 199)";
        for sql in [
            format!(
                "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id)
                 {numbers} SELECT {product_id}, 1, 1000, UTC_TIMESTAMP(6) - INTERVAL 1 SECOND,
                 UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, CONCAT(one.n, '-', other.n)
                 FROM numbers AS one, numbers AS other WHERE one.n * 200 + other.n < {count}"
            ),
            format!("UPDATE products SET available_stock = 0 WHERE id = {product_id}"),
        ] {
            self.database.execute(&sql).await;
        }
        product_id
    }

    /// Holds and orders.
    pub(crate) async fn ordered(&self, product_id: i64, qty: i32) -> Order {
        let hold = self.clients().hold(product_id, qty).await.unwrap();
        self.clients().order(hold.hold_id).await.unwrap()
    }

    /// How many rows there are of `SELECT … FROM` this.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.database.query_i64(&format!("SELECT COUNT(*) FROM {from}")).await
    }

    /// The stored status of a hold.
    pub(crate) async fn hold_status(&self, hold_id: i64) -> String {
        self.database.query_rows(&format!("SELECT status FROM holds WHERE id = {hold_id}")).await[0][0].clone()
    }

    /// The stored status of an order.
    pub(crate) async fn order_status(&self, order_id: i64) -> String {
        self.database.query_rows(&format!("SELECT status FROM orders WHERE id = {order_id}")).await[0][0].clone()
    }

    /// Makes all pending orders a second overdue.
    pub(crate) async fn let_all_orders_be_overdue(&self) {
        let sql = "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'pending'";
        self.database.move_times(sql).await;
    }

    /// Another server on the same database. To be stopped before [`Sale::finish`].
    pub(crate) async fn second_server(&self) -> TestServer {
        TestServer::start(&self.database).await
    }

    /// The service's own way to the database, for what runs without a server.
    pub(crate) fn service_database(&self) -> Database {
        Database::new(&database_config(&self.database.url(), 4)).unwrap()
    }

    /// A sweeper on the database.
    pub(crate) fn sweeper(&self, batch: usize) -> SweeperConfig {
        SweeperConfig {
            database: database_config(&self.database.url(), 4),
            batch,
            log_format: LogFormat::Json,
            command: SweeperCommand::Sweep,
        }
    }
}

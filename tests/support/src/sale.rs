//! Makes the requests that tests of a sale add to with `..`, and brings a sale into a state.

use flashsale::{
    config::{Account, Risks, SweeperCommand, SweeperConfig},
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

/// Makes a CreateHold without a request_id or a buyer.
pub fn hold(product_id: i64, qty: i32) -> CreateHoldRequest {
    CreateHoldRequest { product_id, qty, ..Default::default() }
}

/// Makes a CreateHold that can be repeated.
pub fn repeatable_hold(product_id: i64, qty: i32, request_id: &str) -> CreateHoldRequest {
    CreateHoldRequest { request_id: Some(request_id.to_owned()), ..hold(product_id, qty) }
}

/// Makes a CreateHold for a buyer.
pub fn hold_of(buyer_id: &str, product_id: i64, qty: i32) -> CreateHoldRequest {
    CreateHoldRequest { buyer_id: Some(buyer_id.to_owned()), ..hold(product_id, qty) }
}

/// Makes a CreateOrder that can be repeated.
pub fn repeatable_order(hold_id: i64, request_id: &str) -> CreateOrderRequest {
    CreateOrderRequest { hold_id, request_id: Some(request_id.to_owned()), ..Default::default() }
}

/// Makes a CreateProduct at 1000 cents, on sale at once, without an end and without a limit.
pub fn product(total_stock: i64) -> CreateProductRequest {
    CreateProductRequest { name: "Shoe".to_owned(), price_cents: 1000, total_stock, ..Default::default() }
}

/// Makes a HandlePaymentWebhook.
pub fn event(
    key: &str,
    order_id: i64,
    status: PaymentStatus,
    amount_cents: Option<i64>,
) -> HandlePaymentWebhookRequest {
    HandlePaymentWebhookRequest {
        idempotency_key: key.to_owned(),
        order_id,
        status: status.into(),
        amount_cents,
        ..Default::default()
    }
}

/// Returns the fields that an INVALID_ARGUMENT names, in its order.
pub fn bad_fields(status: &Status) -> Vec<String> {
    let details = details(status);
    let bad_request = details.bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    bad_request.field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// Returns type and id of what a NOT_FOUND names.
pub fn missing(status: &Status) -> (String, String) {
    let details = details(status);
    let info = details.resource_info().unwrap_or_else(|| panic!("no ResourceInfo in {status:?}"));
    (info.resource_type.clone(), info.resource_name.clone())
}

impl Sale {
    /// Puts a product on sale and returns its id.
    pub async fn product(&self, total_stock: i64) -> i64 {
        self.clients().try_create_product(product(total_stock)).await.unwrap().product_id
    }

    /// Returns the available stock that GetProduct tells.
    pub async fn stock(&self, product_id: i64) -> i64 {
        self.clients().available_stock(product_id).await
    }

    /// Returns the available stock in the product's row.
    ///
    /// Units that are past their time and not yet taken back aren't in it.
    pub async fn stored_stock(&self, product_id: i64) -> i64 {
        self.database.query_i64(&format!("SELECT available_stock FROM products WHERE id = {product_id}")).await
    }

    /// Puts a product on sale whose `count` units, at most 40,000, are all in expired holds of one unit.
    pub async fn with_expired_holds(&self, count: i64) -> i64 {
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

    /// Makes a hold and orders it.
    pub async fn ordered(&self, product_id: i64, qty: i32) -> Order {
        let hold = self.clients().hold(product_id, qty).await.unwrap();
        self.clients().order(hold.hold_id).await.unwrap()
    }

    /// Counts the rows of `SELECT … FROM` this.
    pub async fn count(&self, from: &str) -> i64 {
        self.database.query_i64(&format!("SELECT COUNT(*) FROM {from}")).await
    }

    /// Returns the stored status of a hold.
    pub async fn hold_status(&self, hold_id: i64) -> String {
        self.database.query_rows(&format!("SELECT status FROM holds WHERE id = {hold_id}")).await[0][0].clone()
    }

    /// Returns the stored status of an order.
    pub async fn order_status(&self, order_id: i64) -> String {
        self.database.query_rows(&format!("SELECT status FROM orders WHERE id = {order_id}")).await[0][0].clone()
    }

    /// Makes all pending orders overdue by a second.
    pub async fn let_all_orders_be_overdue(&self) {
        let sql = "UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE status = 'pending'";
        self.database.move_times(sql).await;
    }

    /// Starts another server on the same database, to be stopped before [`Sale::finish`].
    pub async fn second_server(&self) -> TestServer {
        TestServer::start(&self.database).await
    }

    /// Opens the database as the server does, for what runs without a server.
    pub fn server_database(&self) -> Database {
        Database::new(&database_config(&self.database.url(), 4)).unwrap()
    }

    /// Opens the database as the sweeper does, for what runs without a program.
    pub fn sweeper_database(&self) -> Database {
        Database::new(&database_config(&self.database.url_for(Account::Sweeper), 4)).unwrap()
    }

    /// Returns the settings of a sweeper on the database.
    pub fn sweeper(&self, batch: usize) -> SweeperConfig {
        self.sweeper_of(Account::Sweeper, batch)
    }

    /// Returns the settings of a purge of the database.
    pub fn purger(&self, batch: usize) -> SweeperConfig {
        self.sweeper_of(Account::Purger, batch)
    }

    fn sweeper_of(&self, account: Account, batch: usize) -> SweeperConfig {
        SweeperConfig {
            database: database_config(&self.database.url_for(account), 4),
            batch,
            risks: Risks::default(),
            log_format: LogFormat::Json,
            command: SweeperCommand::Sweep,
        }
    }
}

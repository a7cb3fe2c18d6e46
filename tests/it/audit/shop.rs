//! Makes a shop whose rows are in every possible state, by the service alone.

use flashsale::{
    pb::{
        AdjustStockRequest, HandlePaymentWebhookRequest, ListPaymentExceptionsRequest, PaymentStatus,
        ResolvePaymentExceptionRequest,
    },
    sweeper,
};

use crate::support::{sale::event, server::Sale};

/// Names the tables that [`Shop::restore`] puts back.
const TABLES: [&str; 6] =
    ["products", "holds", "orders", "payment_webhooks", "payment_exceptions", "stock_adjustments"];

/// Holds a shop with three products. Product 1 has these rows:
///
/// | hold | is | order | is | payment events |
/// |---|---|---|---|---|
/// | 1 | active | | | |
/// | 2 | released | | | |
/// | 3 | expired | | | |
/// | 4 | cancelled | 1 | cancelled as overdue | |
/// | 5 | used | 2 | pending | 1 another amount (exception 1) |
/// | 6 | used | 3 | paid | 2 applied, 3 duplicate (exception 2), 4 failure after it |
/// | 7 | cancelled | 4 | cancelled by a failed payment | 5 applied, 6 late (exception 3, resolved), 7 failure after it |
///
/// Product 2 was adjusted three times and has the active hold 8; product 3 has nothing.
pub(super) struct Shop {
    pub(super) sale: Sale,
}

impl Shop {
    pub(super) async fn open(name: &str) -> Self {
        let sale = Sale::start(name).await;
        let clients = sale.clients();
        for stock in [100, 50, 0] {
            sale.product(stock).await;
        }
        clients.hold(1, 1).await.unwrap();
        let released = clients.hold(1, 2).await.unwrap();
        clients.release(released.hold_id).await.unwrap();
        clients.hold(1, 3).await.unwrap();
        sale.ordered(1, 4).await;
        // A time that agrees with the row's other times, so that the sweep has something to do.
        let database = &sale.database;
        let old = "created_at = created_at - INTERVAL 1 HOUR, expires_at = expires_at - INTERVAL 1 HOUR";
        database.execute(&format!("UPDATE holds SET {old} WHERE id IN (3, 4)")).await;
        let old = "created_at = created_at - INTERVAL 1 HOUR, payment_due_at = payment_due_at - INTERVAL 1 HOUR";
        database.execute(&format!("UPDATE orders SET {old} WHERE id = 1")).await;
        sweeper::run(&sale.sweeper(100), std::future::pending()).await.unwrap();

        for (qty, events) in [
            (5, &[(PaymentStatus::Success, Some(1))][..]),
            (
                6,
                &[(PaymentStatus::Success, Some(6000)), (PaymentStatus::Success, None), (PaymentStatus::Failure, None)],
            ),
            (
                7,
                &[(PaymentStatus::Failure, None), (PaymentStatus::Success, Some(7000)), (PaymentStatus::Failure, None)],
            ),
        ] {
            let order = sale.ordered(1, qty).await;
            for (number, (status, amount_cents)) in events.iter().enumerate() {
                let key = format!("order-{}-event-{number}", order.order_id);
                let event: HandlePaymentWebhookRequest = event(&key, order.order_id, *status, *amount_cents);
                clients.pay_by(event).await.unwrap();
            }
        }
        let resolved = ResolvePaymentExceptionRequest { exception_id: 3, note: "refunded".to_owned() };
        clients.admin.clone().resolve_payment_exception(resolved).await.unwrap();
        for (number, delta) in [10, -5, 1].into_iter().enumerate() {
            let (reason, request_id) = ("count".to_owned(), format!("count-{number}"));
            let adjusted = AdjustStockRequest { product_id: 2, delta, reason, request_id };
            clients.admin.clone().adjust_stock(adjusted).await.unwrap();
        }
        clients.hold(2, 8).await.unwrap();

        let open = ListPaymentExceptionsRequest { page_size: 10, ..Default::default() };
        let open = clients.admin.clone().list_payment_exceptions(open).await.unwrap().into_inner();
        assert_eq!(open.exceptions.len(), 2, "{open:?}");
        Self { sale }
    }

    /// Adds many rows of the usual kind, so that the optimizer doesn't take the tables for tiny.
    ///
    /// At most 1000 are added, since the databases limit recursion.
    pub(super) async fn fill(&self, rows: u32) {
        let numbers =
            format!("WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})");
        let mut connection = self.sale.database.connect().await;
        for (columns, select) in [
            (
                "products (name, price_cents, total_stock, available_stock, request_id, request_digest, created_at)",
                "'p', 1, 1, 1, CONCAT('fill', n), REPEAT('x', 32), UTC_TIMESTAMP(6) FROM numbers",
            ),
            (
                "holds (product_id, qty, unit_price_cents, status, expires_at, created_at, request_id)",
                "1 + n % 300, 1, 1000, 'cancelled', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), CONCAT('fill', n) FROM numbers",
            ),
            (
                "orders (hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id)",
                "id, product_id, 1, 1000, 'cancelled', created_at, created_at, request_id FROM numbers \
                 JOIN holds ON request_id = CONCAT('fill', n)",
            ),
            (
                "payment_webhooks (idempotency_key, order_id, product_id, status, order_status, result, created_at)",
                "request_id, id, product_id, 'success', 'cancelled', 'late_success', created_at FROM numbers \
                 JOIN orders ON request_id = CONCAT('fill', n)",
            ),
            (
                "payment_exceptions (kind, order_id, product_id, idempotency_key, created_at)",
                "'late_success', id, product_id, request_id, created_at FROM numbers \
                 JOIN orders ON request_id = CONCAT('fill', n)",
            ),
        ] {
            connection.execute(&format!("INSERT INTO {columns} {numbers} SELECT {select}")).await;
        }
        connection.execute(&format!("ANALYZE TABLE {}", TABLES.join(", "))).await;
        connection.close().await;
    }

    /// Removes the tables' CHECKs, so that they can be broken, and copies every row.
    pub(super) async fn save(&self) {
        let database = &self.sale.database;
        let checks = database
            .query_rows(
                "SELECT DISTINCT table_name, constraint_name FROM information_schema.table_constraints \
                 WHERE constraint_type = 'CHECK' AND constraint_schema = DATABASE()",
            )
            .await;
        for check in checks {
            database.execute(&format!("ALTER TABLE {} DROP CONSTRAINT {}", check[0], check[1])).await;
        }
        for table in TABLES {
            database.execute(&format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await;
        }
    }

    /// Puts every row back from its copy.
    pub(super) async fn restore(&self) {
        let mut connection = self.sale.database.connect().await;
        connection.execute("BEGIN").await;
        for table in TABLES {
            connection.execute(&format!("DELETE FROM {table}")).await;
            connection.execute(&format!("INSERT INTO {table} SELECT * FROM saved_{table}")).await;
        }
        connection.execute("COMMIT").await;
        connection.close().await;
    }
}

//! Checks that no stock is lost or made, and that the tables agree with each other.
//!
//! The SQL is the tests' own, so no code under test can hide a fault: `sweeper audit` has no part in it.

use super::database::{RawConnection, TestDatabase};

/// The checks: a rule, and a query whose every row is a fault that its one column describes.
const CHECKS: [(&str, &str); 10] = [
    (
        "stock is conserved",
        "SELECT CONCAT('product ', id, ': total ', total_stock, ' is not available ', available_stock,
                       ' + held ', held, ' + pending ', pending, ' + paid ', paid)
           FROM (SELECT id, total_stock, available_stock,
                        (SELECT COALESCE(SUM(qty), 0) FROM holds
                          WHERE product_id = products.id AND status = 'active') AS held,
                        (SELECT COALESCE(SUM(qty), 0) FROM orders
                          WHERE product_id = products.id AND status = 'pending') AS pending,
                        (SELECT COALESCE(SUM(qty), 0) FROM orders
                          WHERE product_id = products.id AND status = 'paid') AS paid
                   FROM products) AS stock
          WHERE total_stock <> available_stock + held + pending + paid",
    ),
    (
        "available stock is within bounds",
        "SELECT CONCAT('product ', id, ': available ', available_stock, ' of ', total_stock)
           FROM products WHERE available_stock < 0 OR available_stock > total_stock",
    ),
    (
        "a quantity is positive",
        "SELECT CONCAT('hold ', id, ': qty ', qty) FROM holds WHERE qty < 1
          UNION ALL
         SELECT CONCAT('order ', id, ': qty ', qty) FROM orders WHERE qty < 1",
    ),
    (
        "a status is a known one",
        "SELECT CONCAT('hold ', id, ': status ', QUOTE(status)) FROM holds
          WHERE status NOT IN ('active', 'used', 'expired', 'cancelled')
          UNION ALL
         SELECT CONCAT('order ', id, ': status ', QUOTE(status)) FROM orders
          WHERE status NOT IN ('pending', 'paid', 'cancelled')",
    ),
    (
        "a hold has its product",
        "SELECT CONCAT('hold ', holds.id, ': no product ', product_id)
           FROM holds LEFT JOIN products ON products.id = product_id WHERE products.id IS NULL",
    ),
    (
        "a hold has one order at the most",
        "SELECT CONCAT('hold ', hold_id, ': orders ', GROUP_CONCAT(id ORDER BY id))
           FROM orders GROUP BY hold_id HAVING COUNT(*) > 1",
    ),
    (
        "an order agrees with its hold",
        "SELECT CONCAT('order ', orders.id, ' of hold ', orders.hold_id, ': product ', orders.product_id, ' and ',
                       COALESCE(holds.product_id, 'none'), ', qty ', orders.qty, ' and ', COALESCE(holds.qty, 'none'),
                       ', amount_cents ', orders.amount_cents, ' at unit_price_cents ',
                       COALESCE(holds.unit_price_cents, 'none'))
           FROM orders LEFT JOIN holds ON holds.id = orders.hold_id
          WHERE holds.id IS NULL OR holds.product_id <> orders.product_id OR holds.qty <> orders.qty
             OR orders.amount_cents <> holds.qty * holds.unit_price_cents",
    ),
    (
        "the hold of a pending or paid order is used, of a cancelled one cancelled",
        "SELECT CONCAT('order ', orders.id, ' is ', orders.status, ', its hold ', holds.id, ' is ', holds.status)
           FROM orders JOIN holds ON holds.id = orders.hold_id
          WHERE holds.status <> IF(orders.status = 'cancelled', 'cancelled', 'used')",
    ),
    (
        "a used hold has an order",
        "SELECT CONCAT('hold ', holds.id, ': used, but no order')
           FROM holds LEFT JOIN orders ON orders.hold_id = holds.id
          WHERE holds.status = 'used' AND orders.id IS NULL",
    ),
    (
        "a stored payment event has its order",
        "SELECT CONCAT('payment event ', payment_webhooks.id, ': no order ', order_id)
           FROM payment_webhooks LEFT JOIN orders ON orders.id = order_id WHERE orders.id IS NULL",
    ),
];

impl TestDatabase {
    /// Fails the test if stock was lost or made, or if the tables contradict each other, and prints the faults.
    ///
    /// It may be called under load, since it reads the commits of one moment.
    pub async fn assert_conserved(&self) {
        let faults = self.conservation_faults().await;
        assert!(faults.is_empty(), "{} has faults:\n{}", self.name(), faults.join("\n"));
    }

    /// Returns the faults that [`Self::assert_conserved`] fails for.
    pub async fn conservation_faults(&self) -> Vec<String> {
        let mut connection = self.connect().await;
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
        connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await;
        let faults = find(&mut connection).await;
        connection.execute("COMMIT").await;
        connection.close().await;
        faults
    }
}

async fn find(connection: &mut RawConnection) -> Vec<String> {
    let mut faults = Vec::new();
    for (rule, query) in CHECKS {
        for row in connection.query_rows(query).await {
            faults.push(format!("{rule}: {}", row[0]));
        }
    }
    faults
}

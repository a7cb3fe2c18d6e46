//! Orders against their holds, and against the payment events that settled them.

use super::{CLOCK_WENT_BACK, Check, MIND_THE_CLOCK, Rows, Table};

/// Describes the orders. The rows and their counts are of one snapshot.
///
/// LIMIT, which is no less than a page, keeps the optimizer from counting again for each place that names a count.
pub(super) const ORDERS: Table = Table {
    name: "orders",
    rows: Rows::Page,
    id: "orders.id",
    from: "(SELECT orders.*, \
        (SELECT COUNT(*) FROM payment_webhooks FORCE INDEX (payment_webhooks_order) \
            WHERE order_id = orders.id AND result = 'applied' AND status = 'success') AS payments, \
        (SELECT COUNT(*) FROM payment_webhooks FORCE INDEX (payment_webhooks_order) \
            WHERE order_id = orders.id AND result = 'applied' AND status = 'failure') AS failures, \
        (SELECT COUNT(*) FROM payment_webhooks FORCE INDEX (payment_webhooks_order) \
            JOIN payment_exceptions FORCE INDEX (payment_exceptions_key) USING (idempotency_key) \
            WHERE payment_webhooks.order_id = orders.id AND accepted) AS acceptances \
        FROM orders FORCE INDEX (PRIMARY) WHERE {rows} LIMIT 100000) AS orders \
        LEFT JOIN holds FORCE INDEX (PRIMARY) ON holds.id = orders.hold_id \
        LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = orders.product_id",
    ids: "orders.product_id AS product_id, holds.product_id AS related_product_id, orders.hold_id AS hold_id, \
        orders.id AS order_id, NULL AS webhook_id, NULL AS exception_id, NULL AS adjustment_id",
    checks: &[
        Check {
            kind: "order_without_hold",
            fault: "holds.id IS NULL",
            expected: "'hold ', orders.hold_id",
            found: "'none'",
            what_to_do: "restore the hold from a backup: a purge deletes a hold only with its order",
        },
        Check {
            kind: "order_without_product",
            fault: "products.id IS NULL",
            expected: "'product ', orders.product_id",
            found: "'none'",
            what_to_do: "restore the product from a backup: a purge deletes a product only after its rows",
        },
        Check {
            kind: "order_second_of_hold",
            fault: "EXISTS (SELECT 1 FROM orders AS other FORCE INDEX (orders_hold) \
                WHERE other.hold_id = orders.hold_id AND other.id < orders.id)",
            expected: "'one order of hold ', orders.hold_id",
            found: "'an earlier one'",
            what_to_do: "restore the unique key orders_hold; cancel the later order, and refund it if it was paid",
        },
        Check {
            kind: "order_product_differs",
            fault: "orders.product_id <> holds.product_id",
            expected: "'product ', holds.product_id, ' as the hold'",
            found: "'product ', orders.product_id",
            what_to_do: "set the order's product_id to the hold's",
        },
        Check {
            kind: "order_qty_differs",
            fault: "orders.qty <> holds.qty",
            expected: "'qty ', holds.qty, ' as the hold'",
            found: "'qty ', orders.qty",
            what_to_do: "set the order's qty to the hold's, unless the hold is the one that was changed",
        },
        Check {
            kind: "order_amount_differs",
            fault: "orders.amount_cents <> CAST(holds.qty AS DECIMAL(30)) * holds.unit_price_cents",
            expected: "'amount_cents ', CAST(holds.qty AS DECIMAL(30)) * holds.unit_price_cents, ': qty ', holds.qty, \
                ' at unit_price_cents ', holds.unit_price_cents",
            found: "'amount_cents ', orders.amount_cents",
            what_to_do: "correct the one that was changed; where the buyer paid another amount, refund the difference",
        },
        Check {
            kind: "order_hold_status",
            fault: "holds.status <> IF(orders.status = 'cancelled', 'cancelled', 'used')",
            expected: "'hold ', IF(orders.status = 'cancelled', 'cancelled', 'used'), ' of an order ', orders.status",
            found: "'hold ', holds.status",
            what_to_do: "correct the one that was changed (the order's payment events say what it was), then audit \
                again",
        },
        Check {
            kind: "order_values",
            fault: "orders.qty < 1 OR orders.amount_cents < 0 OR orders.status NOT IN ('pending', 'paid', 'cancelled')",
            expected: "'qty at least 1, amount_cents at least 0, a known status'",
            found: "'qty ', orders.qty, ', amount_cents ', orders.amount_cents, ', status ', QUOTE(orders.status)",
            what_to_do: "the row was changed past the service: correct it by the log or a backup",
        },
        Check {
            kind: "order_times",
            fault: "orders.payment_due_at < orders.created_at",
            expected: "'payment_due_at at or after created_at ', orders.created_at",
            found: "'payment_due_at ', orders.payment_due_at",
            what_to_do: "the row was changed past the service: correct it by the log or a backup",
        },
        // One transaction made the hold, and another one the order.
        Check {
            kind: CLOCK_WENT_BACK,
            fault: "orders.created_at < holds.created_at \
                OR orders.status = 'cancelled' AND payments = 0 AND failures = 0 \
                    AND NOT orders.settled_by <=> 'caller' AND orders.payment_due_at > SYSDATE(6) \
                    AND orders.payment_due_at <= (SELECT latest_at FROM sweeper_state WHERE id = 1)",
            expected: "'hold made ', holds.created_at, ', then the order, and cancelled without a failed payment only \
                after payment_due_at ', COALESCE(orders.payment_due_at, 'never')",
            found: "'order made ', orders.created_at, ', ', orders.status, ', now ', SYSDATE(6)",
            what_to_do: MIND_THE_CLOCK,
        },
        Check {
            kind: "order_after_hold_expired",
            fault: "orders.created_at > holds.expires_at",
            expected: "'made by ', holds.expires_at",
            found: "'made ', orders.created_at",
            what_to_do: "the hold was too old for it: look for a server with another version, or a changed row",
        },
        Check {
            kind: "order_paid_without_event",
            fault: "orders.status = 'paid' AND payments + acceptances = 0 \
                AND NOT (orders.amount_cents = 0 AND orders.settled_by <=> 'no_charge')",
            expected: "'a payment event that was applied or accepted, or an order that costs nothing'",
            found: "'none'",
            what_to_do: "ask the payment provider; without a payment of theirs the buyer owes the amount",
        },
        Check {
            kind: "order_settled_twice",
            fault: "payments + failures + acceptances > 1 \
                OR payments + failures + acceptances > 0 AND orders.settled_by <=> 'no_charge'",
            expected: "'one payment event that was applied or accepted'",
            found: "payments, ' successes, ', failures, ' failures and ', acceptances, ' acceptances'",
            what_to_do: "ask the payment provider which of them took place, and refund what was paid twice",
        },
        Check {
            kind: "order_settled_by_differs",
            fault: "orders.settled_by IS NOT NULL \
                AND orders.status <> IF(orders.settled_by IN ('payment', 'acceptance', 'no_charge'), 'paid', 'cancelled')",
            expected: "'order ', IF(orders.settled_by IN ('payment', 'acceptance', 'no_charge'), 'paid', 'cancelled'), \
                ', settled by ', orders.settled_by",
            found: "'order ', orders.status",
            what_to_do: "correct the one that was changed; the order's payment events say what it was",
        },
        // SYSDATE is a time after the snapshot was taken, so every sweep that the snapshot shows was over by then.
        Check {
            kind: "order_cancelled_without_cause",
            fault: "orders.status = 'cancelled' AND payments = 0 AND failures = 0 \
                AND NOT orders.settled_by <=> 'caller' \
                AND COALESCE(orders.payment_due_at > SYSDATE(6) \
                    AND orders.payment_due_at > (SELECT latest_at FROM sweeper_state WHERE id = 1), TRUE)",
            expected: "'a failed payment, a caller, or payment_due_at in the past'",
            found: "'payment_due_at ', COALESCE(orders.payment_due_at, 'never')",
            what_to_do: "it was cancelled past the service: ask the payment provider, and refund what was paid",
        },
    ],
};

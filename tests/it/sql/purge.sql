-- # The time

SELECT UTC_TIMESTAMP(6);

-- # Expired holds of any product

BEGIN;

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`status`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_expiry)
WHERE (
    (
        ((`holds`.`expires_at` >= ?) AND ((`holds`.`expires_at` > ?) OR (`holds`.`id` > 0)))
        AND (`holds`.`expires_at` < ?)
    )
    AND (`holds`.`status` = 'expired')
)
ORDER BY `holds`.`expires_at`, `holds`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_expiry

SELECT `orders`.`hold_id`
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?, …));
-- orders by orders_hold, index only

DELETE FROM `holds`
WHERE (`holds`.`id` = ?);
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # Cancelled holds of any product, some with an order

BEGIN;

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`status`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_expiry)
WHERE (
    (
        ((`holds`.`expires_at` >= ?) AND ((`holds`.`expires_at` > ?) OR (`holds`.`id` > 0)))
        AND (`holds`.`expires_at` < ?)
    )
    AND (`holds`.`status` = 'cancelled')
)
ORDER BY `holds`.`expires_at`, `holds`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_expiry

SELECT `orders`.`hold_id`
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?, …));
-- orders by orders_hold, index only

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`status`,
    COALESCE(settled_at, payment_due_at, created_at)
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?, …))
FOR UPDATE SKIP LOCKED;
-- orders by orders_hold

SELECT `payment_webhooks`.`id`, `payment_webhooks`.`order_id`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_order)
WHERE (`payment_webhooks`.`order_id` IN (?, …));
-- payment_webhooks by payment_webhooks_order, index only

DELETE FROM `orders`
WHERE (`orders`.`id` = ?);
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

SET @rows = ? + (ROW_COUNT() <> 1);

DELETE FROM `holds`
WHERE (`holds`.`id` = ?);
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A dry run

BEGIN;

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`status`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_expiry)
WHERE (
    (
        ((`holds`.`expires_at` >= ?) AND ((`holds`.`expires_at` > ?) OR (`holds`.`id` > 0)))
        AND (`holds`.`expires_at` < ?)
    )
    AND (`holds`.`status` = 'cancelled')
)
ORDER BY `holds`.`expires_at`, `holds`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_expiry

SELECT `orders`.`hold_id`
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?, …));
-- orders by orders_hold, index only

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`status`,
    COALESCE(settled_at, payment_due_at, created_at)
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?, …))
FOR UPDATE SKIP LOCKED;
-- orders by orders_hold

SELECT `payment_webhooks`.`id`, `payment_webhooks`.`order_id`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_order)
WHERE (`payment_webhooks`.`order_id` IN (?, …));
-- payment_webhooks by payment_webhooks_order, index only

COMMIT;

-- # Sales that have ended

SELECT `products`.`id`, `products`.`ends_at`
FROM `products` FORCE INDEX (PRIMARY)
WHERE (`products`.`id` > 0)
ORDER BY `products`.`id`
LIMIT 2;
-- products by PRIMARY

-- # The sold units of a sale that is over

BEGIN;

SELECT `products`.`id`
FROM `products` FORCE INDEX (PRIMARY)
WHERE ((`products`.`id` = 25) AND (`products`.`ends_at` < ?))
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'active')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'used')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'expired')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE
        (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'cancelled')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE ((`orders`.`product_id` = 25) AND (`orders`.`status` = 'pending'))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `orders` FORCE INDEX (orders_settled)
    WHERE ((`orders`.`product_id` = 25) AND (`orders`.`settled_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product_open)
    WHERE ((`payment_exceptions`.`product_id` = 25) AND (`payment_exceptions`.`resolved_at` IS NULL))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product_open)
    WHERE ((`payment_exceptions`.`product_id` = 25) AND (`payment_exceptions`.`resolved_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `stock_adjustments` FORCE INDEX (stock_adjustments_request)
    WHERE ((`stock_adjustments`.`product_id` = 25) AND (`stock_adjustments`.`created_at` >= ?))
    LIMIT 1
);
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- orders by orders_settled, index only
-- payment_exceptions by payment_exceptions_product_open, index only
-- stock_adjustments by stock_adjustments_request

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`status`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_product_expiry)
WHERE (
    (
        (
            ((`holds`.`expires_at` >= ?) AND ((`holds`.`expires_at` > ?) OR (`holds`.`id` > 0)))
            AND (`holds`.`expires_at` < ?)
        )
        AND (`holds`.`product_id` = 25)
    )
    AND (`holds`.`status` = 'used')
)
ORDER BY `holds`.`expires_at`, `holds`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

SELECT `orders`.`hold_id`
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?));

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`status`,
    COALESCE(settled_at, payment_due_at, created_at)
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?))
FOR UPDATE SKIP LOCKED;

SELECT `payment_webhooks`.`id`, `payment_webhooks`.`order_id`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_order)
WHERE (`payment_webhooks`.`order_id` IN (?));
-- payment_webhooks by payment_webhooks_order, index only

SELECT
    `payment_webhooks`.`id`,
    `payment_webhooks`.`order_id`,
    `payment_webhooks`.`idempotency_key`,
    `payment_webhooks`.`created_at`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_order)
WHERE (`payment_webhooks`.`order_id` IN (?))
FOR UPDATE SKIP LOCKED;
-- payment_webhooks by payment_webhooks_order

SELECT `payment_exceptions`.`id`, `payment_exceptions`.`idempotency_key`
FROM `payment_exceptions` FORCE INDEX (payment_exceptions_key)
WHERE (`payment_exceptions`.`idempotency_key` IN ('sold', 'sold, too'));
-- payment_exceptions by payment_exceptions_key, index only

SELECT
    `payment_exceptions`.`id`,
    `payment_exceptions`.`order_id`,
    `payment_exceptions`.`idempotency_key`,
    `payment_exceptions`.`resolved_at`
FROM `payment_exceptions` FORCE INDEX (payment_exceptions_key)
WHERE (`payment_exceptions`.`idempotency_key` IN ('sold', 'sold, too'))
FOR UPDATE SKIP LOCKED;
-- payment_exceptions by payment_exceptions_key

SELECT `stock_adjustments`.`id`
FROM `stock_adjustments` FORCE INDEX (stock_adjustments_request)
WHERE (`stock_adjustments`.`product_id` = 25);
-- stock_adjustments by stock_adjustments_request, index only

DELETE FROM `stock_adjustments`
WHERE (`stock_adjustments`.`id` = 2);
-- stock_adjustments by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

DELETE FROM `payment_exceptions`
WHERE (`payment_exceptions`.`id` = ?);
-- payment_exceptions by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

DELETE FROM `payment_webhooks`
WHERE (`payment_webhooks`.`id` = ?);
-- payment_webhooks by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

SET @rows = ? + (ROW_COUNT() <> 1);

DELETE FROM `orders`
WHERE (`orders`.`id` = ?);
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

DELETE FROM `holds`
WHERE (`holds`.`id` = ?);
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `products` SET
    `total_stock` = (`products`.`total_stock` - 1)
WHERE (`products`.`id` = 25);
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A product without any other row

BEGIN;

SELECT `products`.`id`
FROM `products` FORCE INDEX (PRIMARY)
WHERE ((`products`.`id` = 25) AND (`products`.`ends_at` < ?))
FOR UPDATE SKIP LOCKED;

(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'active')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'used')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'expired')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE
        (((`holds`.`product_id` = 25) AND (`holds`.`status` = 'cancelled')) AND (`holds`.`expires_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE ((`orders`.`product_id` = 25) AND (`orders`.`status` = 'pending'))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `orders` FORCE INDEX (orders_settled)
    WHERE ((`orders`.`product_id` = 25) AND (`orders`.`settled_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product_open)
    WHERE ((`payment_exceptions`.`product_id` = 25) AND (`payment_exceptions`.`resolved_at` IS NULL))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product_open)
    WHERE ((`payment_exceptions`.`product_id` = 25) AND (`payment_exceptions`.`resolved_at` >= ?))
    LIMIT 1
)
UNION ALL
(
    SELECT 1
    FROM `stock_adjustments` FORCE INDEX (stock_adjustments_request)
    WHERE ((`stock_adjustments`.`product_id` = 25) AND (`stock_adjustments`.`created_at` >= ?))
    LIMIT 1
);
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- orders by orders_settled, index only
-- payment_exceptions by payment_exceptions_product_open, index only
-- stock_adjustments by stock_adjustments_request

(SELECT 1 FROM `holds` FORCE INDEX (holds_product_expiry) WHERE (`holds`.`product_id` = 25) LIMIT 1)
UNION ALL
(SELECT 1 FROM `orders` FORCE INDEX (orders_product_due) WHERE (`orders`.`product_id` = 25) LIMIT 1)
UNION ALL
(
    SELECT 1
    FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product_open)
    WHERE (`payment_exceptions`.`product_id` = 25)
    LIMIT 1
);
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- payment_exceptions by payment_exceptions_product_open, index only

SELECT `stock_adjustments`.`id`
FROM `stock_adjustments` FORCE INDEX (stock_adjustments_request)
WHERE (`stock_adjustments`.`product_id` = 25);
-- stock_adjustments by stock_adjustments_request, index only

DELETE FROM `products`
WHERE (`products`.`id` = 25);
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

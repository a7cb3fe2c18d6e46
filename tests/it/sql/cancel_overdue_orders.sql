-- # Any product

BEGIN;

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`product_id`,
    `orders`.`qty`,
    `orders`.`amount_cents`,
    `orders`.`status`,
    `orders`.`payment_due_at`,
    `orders`.`created_at`,
    `orders`.`request_id`,
    `orders`.`buyer_id`,
    `orders`.`settled_at`,
    `orders`.`payment_id`
FROM `orders` FORCE INDEX (orders_due)
WHERE (
    (
        ((`orders`.`status` = 'pending') AND (`orders`.`payment_due_at` >= ?))
        AND ((`orders`.`payment_due_at` > ?) OR (`orders`.`id` > 0))
    )
    AND (`orders`.`payment_due_at` < UTC_TIMESTAMP(6))
)
ORDER BY `orders`.`payment_due_at`, `orders`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- orders by orders_due

SELECT
    `holds`.`id`,
    `holds`.`product_id`,
    `holds`.`qty`,
    `holds`.`unit_price_cents`,
    `holds`.`status`,
    `holds`.`expires_at`,
    `holds`.`created_at`,
    `holds`.`buyer_id`,
    `holds`.`request_id`,
    SYSDATE(6)
FROM `holds` FORCE INDEX (PRIMARY)
WHERE (`holds`.`id` IN (?, …))
ORDER BY `holds`.`id`
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

SELECT
    `products`.`id`,
    `products`.`price_cents`,
    `products`.`total_stock`,
    `products`.`available_stock`,
    `products`.`max_per_buyer`,
    `products`.`starts_at`,
    `products`.`ends_at`,
    `products`.`paused`,
    SYSDATE(6) AS now
FROM `products` FORCE INDEX (PRIMARY)
WHERE (`products`.`id` IN (?, …))
ORDER BY `products`.`id`
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled', `settled_by` = 'overdue', `settled_at` = @script_time
WHERE ((`orders`.`id` IN (?, …)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'used'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 1)
WHERE ((`products`.`id` = 14) AND ((`products`.`available_stock` + 1) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 1)
WHERE ((`products`.`id` = 17) AND ((`products`.`available_stock` + 1) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `sweeper_state` SET
    `holds_expired` = (`sweeper_state`.`holds_expired` + 0),
    `orders_cancelled` = (`sweeper_state`.`orders_cancelled` + 2),
    `stock_released` = (`sweeper_state`.`stock_released` + 2),
    `progress_at` = UTC_TIMESTAMP(6),
    `latest_at` = GREATEST(latest_at, UTC_TIMESTAMP(6))
WHERE (`sweeper_state`.`id` = 1);
-- sweeper_state by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A busy product by itself

BEGIN;

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`product_id`,
    `orders`.`qty`,
    `orders`.`amount_cents`,
    `orders`.`status`,
    `orders`.`payment_due_at`,
    `orders`.`created_at`,
    `orders`.`request_id`,
    `orders`.`buyer_id`,
    `orders`.`settled_at`,
    `orders`.`payment_id`
FROM `orders` FORCE INDEX (orders_product_due)
WHERE (
    (
        (
            ((`orders`.`status` = 'pending') AND (`orders`.`payment_due_at` >= ?))
            AND ((`orders`.`payment_due_at` > ?) OR (`orders`.`id` > 0))
        )
        AND (`orders`.`payment_due_at` < UTC_TIMESTAMP(6))
    )
    AND (`orders`.`product_id` = 1)
)
ORDER BY `orders`.`payment_due_at`, `orders`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

SELECT
    `holds`.`id`,
    `holds`.`product_id`,
    `holds`.`qty`,
    `holds`.`unit_price_cents`,
    `holds`.`status`,
    `holds`.`expires_at`,
    `holds`.`created_at`,
    `holds`.`buyer_id`,
    `holds`.`request_id`,
    SYSDATE(6)
FROM `holds` FORCE INDEX (PRIMARY)
WHERE (`holds`.`id` IN (?, …))
ORDER BY `holds`.`id`
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

SELECT
    `products`.`id`,
    `products`.`price_cents`,
    `products`.`total_stock`,
    `products`.`available_stock`,
    `products`.`max_per_buyer`,
    `products`.`starts_at`,
    `products`.`ends_at`,
    `products`.`paused`,
    SYSDATE(6) AS now,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM holds FORCE INDEX (holds_product_expiry)
        WHERE product_id = 1
            AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
    ) AS lapsed_held,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = 1
            AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS lapsed_ordered
FROM products
WHERE id = 1;
-- holds by holds_product_expiry
-- orders by orders_product_due
-- products by PRIMARY

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled', `settled_by` = 'overdue', `settled_at` = @script_time
WHERE ((`orders`.`id` IN (?, …)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'used'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 2)
WHERE ((`products`.`id` = 1) AND ((`products`.`available_stock` + 2) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `sweeper_state` SET
    `holds_expired` = (`sweeper_state`.`holds_expired` + 0),
    `orders_cancelled` = (`sweeper_state`.`orders_cancelled` + 2),
    `stock_released` = (`sweeper_state`.`stock_released` + 2),
    `progress_at` = UTC_TIMESTAMP(6),
    `latest_at` = GREATEST(latest_at, UTC_TIMESTAMP(6))
WHERE (`sweeper_state`.`id` = 1);
-- sweeper_state by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

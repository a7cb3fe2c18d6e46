-- # Whether a product is being sold

SELECT
    CAST(
        EXISTS (
            SELECT 1
            FROM holds FORCE INDEX (PRIMARY)
            WHERE
                id > (SELECT MAX(id) FROM holds) - ?
                AND created_at > UTC_TIMESTAMP(6) - INTERVAL 1 SECOND
                AND product_id IN (?, …)
        ) AS SIGNED
    ) AS just_made;
-- holds by PRIMARY

-- # Any product

BEGIN;

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_expiry)
WHERE (
    (
        ((`holds`.`status` = 'active') AND (`holds`.`expires_at` >= ?))
        AND ((`holds`.`expires_at` > ?) OR (`holds`.`id` > 0))
    )
    AND (`holds`.`expires_at` < UTC_TIMESTAMP(6))
)
ORDER BY `holds`.`expires_at`, `holds`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_expiry

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

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'expired'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 1)
WHERE ((`products`.`id` = 17) AND ((`products`.`available_stock` + 1) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 1)
WHERE ((`products`.`id` = 18) AND ((`products`.`available_stock` + 1) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `sweeper_state` SET
    `holds_expired` = (`sweeper_state`.`holds_expired` + 2),
    `orders_cancelled` = (`sweeper_state`.`orders_cancelled` + 0),
    `stock_released` = (`sweeper_state`.`stock_released` + 2),
    `progress_at` = UTC_TIMESTAMP(6),
    `latest_at` = GREATEST(latest_at, UTC_TIMESTAMP(6))
WHERE (`sweeper_state`.`id` = 1);
-- sweeper_state by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A busy product by itself

BEGIN;

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_product_expiry)
WHERE (
    (
        (
            ((`holds`.`status` = 'active') AND (`holds`.`expires_at` >= ?))
            AND ((`holds`.`expires_at` > ?) OR (`holds`.`id` > 0))
        )
        AND (`holds`.`expires_at` < UTC_TIMESTAMP(6))
    )
    AND (`holds`.`product_id` = 1)
)
ORDER BY `holds`.`expires_at`, `holds`.`id`
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

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

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'expired'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 2)
WHERE ((`products`.`id` = 1) AND ((`products`.`available_stock` + 2) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `sweeper_state` SET
    `holds_expired` = (`sweeper_state`.`holds_expired` + 2),
    `orders_cancelled` = (`sweeper_state`.`orders_cancelled` + 0),
    `stock_released` = (`sweeper_state`.`stock_released` + 2),
    `progress_at` = UTC_TIMESTAMP(6),
    `latest_at` = GREATEST(latest_at, UTC_TIMESTAMP(6))
WHERE (`sweeper_state`.`id` = 1);
-- sweeper_state by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A read of a product with units past their time

SELECT `products`.`name`
FROM `products`
WHERE (`products`.`id` = 4);
-- products by PRIMARY

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
        WHERE product_id = 4
            AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
    ) AS lapsed_held,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = 4
            AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS lapsed_ordered
FROM products
WHERE id = 4;
-- holds by holds_product_expiry
-- orders by orders_product_due
-- products by PRIMARY

BEGIN;

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
WHERE (`products`.`id` IN (4))
ORDER BY `products`.`id`
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_product_expiry)
WHERE (
    ((`holds`.`product_id` = 4) AND (`holds`.`status` = 'active'))
    AND (`holds`.`expires_at` < UTC_TIMESTAMP(6))
)
ORDER BY `holds`.`expires_at`
LIMIT ?
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

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
    ((`orders`.`product_id` = 4) AND (`orders`.`status` = 'pending'))
    AND (`orders`.`payment_due_at` < UTC_TIMESTAMP(6))
)
ORDER BY `orders`.`payment_due_at`
LIMIT ?
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'expired'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 84);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 84)
WHERE ((`products`.`id` = 4) AND ((`products`.`available_stock` + 84) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

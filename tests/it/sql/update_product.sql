-- # A new price

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
FROM `products`
WHERE (`products`.`id` = 21)
FOR UPDATE;
-- products by PRIMARY

SELECT `products`.`name`
FROM `products`
WHERE (`products`.`id` = 21);
-- products by PRIMARY

SELECT
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM holds FORCE INDEX (holds_product_expiry)
        WHERE product_id = 21
            AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
    ) AS lapsed_held,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = 21
            AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS lapsed_ordered;
-- holds by holds_product_expiry
-- orders by orders_product_due

UPDATE `products` SET
    `price_cents` = 900, `max_per_buyer` = NULL, `starts_at` = NULL, `ends_at` = NULL, `paused` = 0
WHERE (`products`.`id` = 21);
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

INSERT INTO `operator_actions` (`created_at`, `principal`, `method`, `request_id`, `product_id`, `changes`)
VALUES (UTC_TIMESTAMP(6), ?, ?, NULL, 21, ?);

COMMIT;

-- # More units

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
    `stock_adjustments`.`delta`,
    `stock_adjustments`.`reason`,
    `stock_adjustments`.`total_stock`,
    `stock_adjustments`.`available_stock`
FROM `stock_adjustments`
WHERE ((`stock_adjustments`.`product_id` = 21) AND (`stock_adjustments`.`request_id` = 'pallet'));
-- stock_adjustments by stock_adjustments_request

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
    `total_stock` = (`products`.`total_stock` + 5),
    `available_stock` = (`products`.`available_stock` + 5)
WHERE ((`products`.`id` = 21) AND ((`products`.`available_stock` + 5) >= 0));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

INSERT INTO
    `stock_adjustments` (`product_id`, `delta`, `reason`, `request_id`, `total_stock`, `available_stock`, `created_at`)
VALUES (21, 5, ?, ?, ?, ?, UTC_TIMESTAMP(6));

INSERT INTO `operator_actions` (`created_at`, `principal`, `method`, `request_id`, `product_id`, `changes`)
VALUES (UTC_TIMESTAMP(6), ?, ?, ?, 21, ?);

COMMIT;

-- # A repeat

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
    `stock_adjustments`.`delta`,
    `stock_adjustments`.`reason`,
    `stock_adjustments`.`total_stock`,
    `stock_adjustments`.`available_stock`
FROM `stock_adjustments`
WHERE ((`stock_adjustments`.`product_id` = 21) AND (`stock_adjustments`.`request_id` = 'pallet'));
-- stock_adjustments by stock_adjustments_request

COMMIT;

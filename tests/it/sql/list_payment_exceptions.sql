-- # What is open

SELECT
    `payment_exceptions`.`id`,
    `payment_exceptions`.`kind`,
    `payment_exceptions`.`order_id`,
    `payment_exceptions`.`product_id`,
    `payment_exceptions`.`idempotency_key`,
    `payment_exceptions`.`amount_cents`,
    `payment_exceptions`.`created_at`,
    `payment_exceptions`.`resolved_at`,
    `payment_exceptions`.`note`,
    `payment_exceptions`.`accepted`,
    SYSDATE(6)
FROM `payment_exceptions` FORCE INDEX (payment_exceptions_open)
WHERE ((`payment_exceptions`.`id` < ?) AND (`payment_exceptions`.`resolved_at` IS NULL))
ORDER BY `payment_exceptions`.`id` DESC
LIMIT 51;
-- payment_exceptions by payment_exceptions_open

-- # All

SELECT
    `payment_exceptions`.`id`,
    `payment_exceptions`.`kind`,
    `payment_exceptions`.`order_id`,
    `payment_exceptions`.`product_id`,
    `payment_exceptions`.`idempotency_key`,
    `payment_exceptions`.`amount_cents`,
    `payment_exceptions`.`created_at`,
    `payment_exceptions`.`resolved_at`,
    `payment_exceptions`.`note`,
    `payment_exceptions`.`accepted`,
    SYSDATE(6)
FROM `payment_exceptions` FORCE INDEX (PRIMARY)
WHERE (`payment_exceptions`.`id` < ?)
ORDER BY `payment_exceptions`.`id` DESC
LIMIT 51;
-- payment_exceptions by PRIMARY

-- # What is open, of a product

SELECT
    `payment_exceptions`.`id`,
    `payment_exceptions`.`kind`,
    `payment_exceptions`.`order_id`,
    `payment_exceptions`.`product_id`,
    `payment_exceptions`.`idempotency_key`,
    `payment_exceptions`.`amount_cents`,
    `payment_exceptions`.`created_at`,
    `payment_exceptions`.`resolved_at`,
    `payment_exceptions`.`note`,
    `payment_exceptions`.`accepted`,
    SYSDATE(6)
FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product_open)
WHERE (
    ((`payment_exceptions`.`id` < ?) AND (`payment_exceptions`.`product_id` = 2))
    AND (`payment_exceptions`.`resolved_at` IS NULL)
)
ORDER BY `payment_exceptions`.`id` DESC
LIMIT 51;
-- payment_exceptions by payment_exceptions_product_open

-- # All of a product

SELECT
    `payment_exceptions`.`id`,
    `payment_exceptions`.`kind`,
    `payment_exceptions`.`order_id`,
    `payment_exceptions`.`product_id`,
    `payment_exceptions`.`idempotency_key`,
    `payment_exceptions`.`amount_cents`,
    `payment_exceptions`.`created_at`,
    `payment_exceptions`.`resolved_at`,
    `payment_exceptions`.`note`,
    `payment_exceptions`.`accepted`,
    SYSDATE(6)
FROM `payment_exceptions` FORCE INDEX (payment_exceptions_product)
WHERE ((`payment_exceptions`.`id` < ?) AND (`payment_exceptions`.`product_id` = 2))
ORDER BY `payment_exceptions`.`id` DESC
LIMIT 51;
-- payment_exceptions by payment_exceptions_product

-- # A success

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
FROM `orders` FORCE INDEX (PRIMARY)
WHERE (`orders`.`id` IN (?))
ORDER BY `orders`.`id`
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

INSERT INTO
    `payment_webhooks` (
        `idempotency_key`,
        `order_id`,
        `product_id`,
        `status`,
        `amount_cents`,
        `order_status`,
        `result`,
        `created_at`,
        `payment_id`
    )
VALUES (?, ?, 21, 'success', NULL, 'paid', 'applied', UTC_TIMESTAMP(6), NULL);

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'paid', `settled_by` = 'payment', `settled_at` = @script_time
WHERE ((`orders`.`id` IN (?)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

COMMIT;

-- # A success that came twice

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
FROM `orders` FORCE INDEX (PRIMARY)
WHERE (`orders`.`id` IN (?))
ORDER BY `orders`.`id`
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

SELECT
    `payment_webhooks`.`id`,
    `payment_webhooks`.`idempotency_key`,
    `payment_webhooks`.`order_id`,
    `payment_webhooks`.`status`,
    `payment_webhooks`.`amount_cents`,
    `payment_webhooks`.`order_status`,
    `payment_webhooks`.`result`,
    `payment_webhooks`.`payment_id`,
    `payment_webhooks`.`created_at`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_key)
WHERE (`payment_webhooks`.`idempotency_key` IN ('two'));
-- payment_webhooks by payment_webhooks_key

INSERT INTO
    `payment_webhooks` (
        `idempotency_key`,
        `order_id`,
        `product_id`,
        `status`,
        `amount_cents`,
        `order_status`,
        `result`,
        `created_at`,
        `payment_id`
    )
VALUES (?, ?, 21, 'success', NULL, 'paid', 'duplicate_success', UTC_TIMESTAMP(6), NULL);

INSERT INTO
    `payment_exceptions` (`kind`, `order_id`, `product_id`, `idempotency_key`, `amount_cents`, `created_at`)
VALUES ('duplicate_success', ?, 21, ?, NULL, UTC_TIMESTAMP(6));

COMMIT;

-- # A failure

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
FROM `orders` FORCE INDEX (PRIMARY)
WHERE (`orders`.`id` IN (?))
ORDER BY `orders`.`id`
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

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
WHERE (`holds`.`id` IN (?))
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
WHERE (`products`.`id` IN (21))
ORDER BY `products`.`id`
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

INSERT INTO
    `payment_webhooks` (
        `idempotency_key`,
        `order_id`,
        `product_id`,
        `status`,
        `amount_cents`,
        `order_status`,
        `result`,
        `created_at`,
        `payment_id`
    )
VALUES (?, ?, 21, 'failure', NULL, 'cancelled', 'applied', UTC_TIMESTAMP(6), NULL);

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled', `settled_by` = 'failure', `settled_at` = @script_time
WHERE ((`orders`.`id` IN (?)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled'
WHERE ((`holds`.`id` IN (?)) AND (`holds`.`status` = 'used'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 1)
WHERE ((`products`.`id` = 21) AND ((`products`.`available_stock` + 1) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A success after the cancellation

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
FROM `orders` FORCE INDEX (PRIMARY)
WHERE (`orders`.`id` IN (?))
ORDER BY `orders`.`id`
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

SELECT
    `payment_webhooks`.`id`,
    `payment_webhooks`.`idempotency_key`,
    `payment_webhooks`.`order_id`,
    `payment_webhooks`.`status`,
    `payment_webhooks`.`amount_cents`,
    `payment_webhooks`.`order_status`,
    `payment_webhooks`.`result`,
    `payment_webhooks`.`payment_id`,
    `payment_webhooks`.`created_at`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_key)
WHERE (`payment_webhooks`.`idempotency_key` IN ('four'));
-- payment_webhooks by payment_webhooks_key

INSERT INTO
    `payment_webhooks` (
        `idempotency_key`,
        `order_id`,
        `product_id`,
        `status`,
        `amount_cents`,
        `order_status`,
        `result`,
        `created_at`,
        `payment_id`
    )
VALUES (?, ?, 21, 'success', NULL, 'cancelled', 'late_success', UTC_TIMESTAMP(6), NULL);

INSERT INTO
    `payment_exceptions` (`kind`, `order_id`, `product_id`, `idempotency_key`, `amount_cents`, `created_at`)
VALUES ('late_success', ?, 21, ?, NULL, UTC_TIMESTAMP(6));

COMMIT;

-- # A repeat

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
FROM `orders` FORCE INDEX (PRIMARY)
WHERE (`orders`.`id` IN (?))
ORDER BY `orders`.`id`
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

SELECT
    `payment_webhooks`.`id`,
    `payment_webhooks`.`idempotency_key`,
    `payment_webhooks`.`order_id`,
    `payment_webhooks`.`status`,
    `payment_webhooks`.`amount_cents`,
    `payment_webhooks`.`order_status`,
    `payment_webhooks`.`result`,
    `payment_webhooks`.`payment_id`,
    `payment_webhooks`.`created_at`
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_key)
WHERE (`payment_webhooks`.`idempotency_key` IN ('four'));
-- payment_webhooks by payment_webhooks_key

COMMIT;

-- # A success with a payment_id

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
FROM `orders` FORCE INDEX (PRIMARY)
WHERE (`orders`.`id` IN (?))
ORDER BY `orders`.`id`
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

INSERT INTO
    `payment_webhooks` (
        `idempotency_key`,
        `order_id`,
        `product_id`,
        `status`,
        `amount_cents`,
        `order_status`,
        `result`,
        `created_at`,
        `payment_id`
    )
VALUES (?, ?, 21, 'success', NULL, 'paid', 'applied', UTC_TIMESTAMP(6), ?);

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'paid',
    `settled_by` = 'payment',
    `settled_at` = @script_time,
    `payment_id` = CASE `orders`.`id` WHEN ? THEN ? END
WHERE ((`orders`.`id` IN (?)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

COMMIT;

-- # A payment of another amount

BEGIN;

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
FROM `payment_exceptions`
WHERE (`payment_exceptions`.`id` = ?);
-- payment_exceptions by PRIMARY

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
FROM `orders`
WHERE (`orders`.`id` = ?)
FOR UPDATE;
-- orders by PRIMARY

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
FROM `payment_exceptions`
WHERE (`payment_exceptions`.`id` = ?)
FOR UPDATE;
-- payment_exceptions by PRIMARY

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
WHERE (`payment_webhooks`.`idempotency_key` = 'a cent off');
-- payment_webhooks by payment_webhooks_key

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'paid', `settled_by` = 'acceptance', `settled_at` = @script_time
WHERE ((`orders`.`id` IN (?)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

UPDATE `payment_exceptions` SET
    `resolved_at` = ?, `note` = ?, `accepted` = 1
WHERE ((`payment_exceptions`.`id` = ?) AND (`payment_exceptions`.`resolved_at` IS NULL));
-- payment_exceptions by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

INSERT INTO `operator_actions` (`created_at`, `principal`, `method`, `request_id`, `product_id`, `changes`)
VALUES (UTC_TIMESTAMP(6), ?, ?, NULL, 21, ?);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@script_time AS DATETIME(6)) AS script_time;

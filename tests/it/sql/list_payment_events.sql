-- # Of an order

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
FROM `payment_webhooks` FORCE INDEX (payment_webhooks_order)
WHERE ((`payment_webhooks`.`order_id` = ?) AND (`payment_webhooks`.`id` < ?))
ORDER BY `payment_webhooks`.`id` DESC
LIMIT 51;
-- payment_webhooks by payment_webhooks_order

-- # With a key

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

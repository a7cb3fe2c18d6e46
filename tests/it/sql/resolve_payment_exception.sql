-- # An open one

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
WHERE (`payment_exceptions`.`id` = ?)
FOR UPDATE;
-- payment_exceptions by PRIMARY

UPDATE `payment_exceptions` SET
    `resolved_at` = ?, `note` = ?, `accepted` = 0
WHERE ((`payment_exceptions`.`id` = ?) AND (`payment_exceptions`.`resolved_at` IS NULL));
-- payment_exceptions by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

INSERT INTO `operator_actions` (`created_at`, `principal`, `method`, `request_id`, `product_id`, `changes`)
VALUES (UTC_TIMESTAMP(6), ?, ?, NULL, 21, ?);

COMMIT;

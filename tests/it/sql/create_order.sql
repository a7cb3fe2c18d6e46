-- # An active hold

BEGIN;

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

INSERT INTO
    `orders` (
        `hold_id`,
        `product_id`,
        `qty`,
        `amount_cents`,
        `payment_due_at`,
        `created_at`,
        `request_id`,
        `buyer_id`,
        `status`,
        `settled_by`,
        `settled_at`
    )
VALUES (?, 21, 1, ?, ?, ?, ?, NULL, 'pending', NULL, NULL);

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'used'
WHERE ((`holds`.`id` IN (?)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # A repeat

BEGIN;

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
FROM `orders` FORCE INDEX (orders_hold)
WHERE (`orders`.`hold_id` IN (?));
-- orders by orders_hold

COMMIT;

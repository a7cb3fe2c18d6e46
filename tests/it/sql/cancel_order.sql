-- # A pending order

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

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled', `settled_by` = 'caller', `settled_at` = @script_time
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

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@script_time AS DATETIME(6)) AS script_time;

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

COMMIT;

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

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled'
WHERE ((`holds`.`id` IN (?)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 1)
WHERE ((`products`.`id` = 21) AND ((`products`.`available_stock` + 1) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

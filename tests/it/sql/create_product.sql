-- # A new product

BEGIN;

SELECT `products`.`id`, `products`.`request_digest`
FROM `products`
WHERE (`products`.`request_id` = 'sock');
-- products by products_request

INSERT INTO
    `products` (
        `name`,
        `price_cents`,
        `total_stock`,
        `available_stock`,
        `max_per_buyer`,
        `starts_at`,
        `ends_at`,
        `request_id`,
        `request_digest`,
        `created_at`
    )
VALUES (?, ?, 10, 10, NULL, NULL, NULL, ?, ?, UTC_TIMESTAMP(6));

SET @first_id = LAST_INSERT_ID ();

INSERT INTO `operator_actions` (`created_at`, `principal`, `method`, `request_id`, `product_id`, `changes`)
VALUES (UTC_TIMESTAMP(6), ?, ?, ?, @first_id, ?);

SET @first_id = LAST_INSERT_ID (@first_id);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # A repeat

BEGIN;

SELECT `products`.`id`, `products`.`request_digest`
FROM `products`
WHERE (`products`.`request_id` = 'sock');
-- products by products_request

COMMIT;

-- # Nothing is known of the product: locked

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
WHERE (`products`.`id` = 23)
FOR UPDATE;
-- products by PRIMARY

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (23, ?, ?, ?, 1, ?, NULL);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 1)
WHERE ((`products`.`id` = 23) AND (`products`.`available_stock` >= 1));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # The product is known to sell: optimistic

BEGIN;

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 1)
WHERE (
    (
        (
            (
                (
                    (
                        ((`products`.`id` = 23) AND (`products`.`available_stock` >= 1))
                        AND (`products`.`price_cents` = ?)
                    )
                    AND NOT (`products`.`paused`)
                )
                AND ((`products`.`starts_at` IS NULL) OR (`products`.`starts_at` <= SYSDATE(6)))
            )
            AND ((`products`.`ends_at` IS NULL) OR (`products`.`ends_at` > SYSDATE(6)))
        )
        AND (SYSDATE(6) <= ?)
    )
    AND (`products`.`max_per_buyer` IS NULL)
);
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @script_time = SYSDATE(6);

SET @expires_at = @script_time + INTERVAL ? MICROSECOND;

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (23, ?, @script_time, @expires_at, 1, ?, NULL);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@script_time AS DATETIME(6)) AS script_time;

-- # A repeat: optimistic, which fails, then locked

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
WHERE (`products`.`id` = 23)
FOR UPDATE;
-- products by PRIMARY

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
FROM `holds` FORCE INDEX (holds_request)
WHERE ((`holds`.`product_id` = 23) AND (`holds`.`request_id` IN ('mine')));
-- holds by holds_request

COMMIT;

-- # The product is known to refuse, but has units: unlocked, then locked

SELECT
    `products`.`id`,
    `products`.`price_cents`,
    `products`.`total_stock`,
    `products`.`available_stock`,
    `products`.`max_per_buyer`,
    `products`.`starts_at`,
    `products`.`ends_at`,
    `products`.`paused`,
    SYSDATE(6) AS now,
    CAST(
        EXISTS (
            SELECT 1
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = 23
                AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
        )
        OR EXISTS (
            SELECT 1
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = 23
                AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
        ) AS SIGNED
    ) AS any_to_take_back,
    NULL AS buyer_id,
    NULL AS units,
    NULL AS past_units,
    NULL AS holds,
    NULL AS last_id
FROM products
WHERE id = 23;
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- products by PRIMARY

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
WHERE (`products`.`id` = 23)
FOR UPDATE;
-- products by PRIMARY

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (23, ?, ?, ?, 1, ?, NULL);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 1)
WHERE ((`products`.`id` = 23) AND (`products`.`available_stock` >= 1));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # More than there is: optimistic, which fails, then locked

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
WHERE (`products`.`id` = 23)
FOR UPDATE;
-- products by PRIMARY

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_product_expiry)
WHERE (
    ((`holds`.`product_id` = 23) AND (`holds`.`status` = 'active'))
    AND (`holds`.`expires_at` < UTC_TIMESTAMP(6))
)
ORDER BY `holds`.`expires_at`
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

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
FROM `orders` FORCE INDEX (orders_product_due)
WHERE (
    ((`orders`.`product_id` = 23) AND (`orders`.`status` = 'pending'))
    AND (`orders`.`payment_due_at` < UTC_TIMESTAMP(6))
)
ORDER BY `orders`.`payment_due_at`
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

COMMIT;

-- # More than there is, of a product that is known to refuse: unlocked

SELECT
    `products`.`id`,
    `products`.`price_cents`,
    `products`.`total_stock`,
    `products`.`available_stock`,
    `products`.`max_per_buyer`,
    `products`.`starts_at`,
    `products`.`ends_at`,
    `products`.`paused`,
    SYSDATE(6) AS now,
    CAST(
        EXISTS (
            SELECT 1
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = 23
                AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
        )
        OR EXISTS (
            SELECT 1
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = 23
                AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
        ) AS SIGNED
    ) AS any_to_take_back,
    NULL AS buyer_id,
    NULL AS units,
    NULL AS past_units,
    NULL AS holds,
    NULL AS last_id
FROM products
WHERE id = 23;
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- products by PRIMARY

-- # Too few units, but expired holds: locked

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
WHERE (`products`.`id` = 20)
FOR UPDATE;
-- products by PRIMARY

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_product_expiry)
WHERE (
    ((`holds`.`product_id` = 20) AND (`holds`.`status` = 'active'))
    AND (`holds`.`expires_at` < UTC_TIMESTAMP(6))
)
ORDER BY `holds`.`expires_at`
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'expired'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 84);

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (20, ?, ?, ?, 1, ?, NULL);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 83)
WHERE ((`products`.`id` = 20) AND ((`products`.`available_stock` + 83) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # Too few units, but overdue orders: optimistic, which fails, then locked

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
WHERE (`products`.`id` = 20)
FOR UPDATE;
-- products by PRIMARY

SELECT `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (holds_product_expiry)
WHERE (
    ((`holds`.`product_id` = 20) AND (`holds`.`status` = 'active'))
    AND (`holds`.`expires_at` < UTC_TIMESTAMP(6))
)
ORDER BY `holds`.`expires_at`
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

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
FROM `orders` FORCE INDEX (orders_product_due)
WHERE (
    ((`orders`.`product_id` = 20) AND (`orders`.`status` = 'pending'))
    AND (`orders`.`payment_due_at` < UTC_TIMESTAMP(6))
)
ORDER BY `orders`.`payment_due_at`
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

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
WHERE (`holds`.`id` IN (?, …))
ORDER BY `holds`.`id`
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

SET @script_time = SYSDATE(6);

UPDATE `orders` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled', `settled_by` = 'overdue', `settled_at` = @script_time
WHERE ((`orders`.`id` IN (?, …)) AND (`orders`.`status` = 'pending'));
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 40), @late = ? + (SYSDATE(6) > @script_time + INTERVAL ? MICROSECOND);

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'cancelled'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'used'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 40);

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (20, ?, ?, ?, 100, ?, NULL);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 60)
WHERE ((`products`.`id` = 20) AND (`products`.`available_stock` >= 60));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # A limit for each buyer, and a buyer with expired holds: locked

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
WHERE (`products`.`id` = 1)
FOR UPDATE;
-- products by PRIMARY

SELECT
    UNHEX(buyer) AS buyer_id,
    CAST(SUM(qty) AS SIGNED) AS units,
    CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
    COUNT(*) AS holds,
    MAX(id) AS last_id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
GROUP BY buyer
ORDER BY NULL;
-- holds by holds_buyer, index only

SELECT id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
    AND number = 1
    AND expires_at < UTC_TIMESTAMP(6)
LIMIT ?;
-- holds by holds_buyer, index only

SELECT `holds`.`buyer_id`, `holds`.`id`, `holds`.`product_id`, `holds`.`qty`, `holds`.`expires_at`
FROM `holds` FORCE INDEX (PRIMARY)
WHERE ((`holds`.`status` = 'active') AND (`holds`.`id` IN (?, …)))
ORDER BY `holds`.`id`
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

UPDATE `holds` FORCE INDEX (PRIMARY) SET
    `status` = 'expired'
WHERE ((`holds`.`id` IN (?, …)) AND (`holds`.`status` = 'active'));
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 12);

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (1, ?, ?, ?, 1, ?, ?);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` + 11)
WHERE ((`products`.`id` = 1) AND ((`products`.`available_stock` + 11) <= `products`.`total_stock`));
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS script_time;

-- # A limit for each buyer: optimistic

BEGIN;

SELECT `products`.`id`
FROM `products`
WHERE (`products`.`id` = 1)
FOR UPDATE;
-- products by PRIMARY, index only

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 1)
WHERE (
    (
        (
            (
                (
                    (
                        (((`products`.`id` = 1) AND (`products`.`available_stock` >= 1)) AND (`products`.`price_cents` = ?))
                        AND NOT (`products`.`paused`)
                    )
                    AND ((`products`.`starts_at` IS NULL) OR (`products`.`starts_at` <= SYSDATE(6)))
                )
                AND ((`products`.`ends_at` IS NULL) OR (`products`.`ends_at` > SYSDATE(6)))
            )
            AND (SYSDATE(6) <= ?)
        )
        AND (`products`.`max_per_buyer` = 5)
    )
    AND TRUE
    AND NOT EXISTS (
        SELECT 1
        FROM
            JSON_TABLE(?, '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
            AND buyer_id = UNHEX(buyer)
            AND status = ELT(number, 'active', 'used')
        GROUP BY buyer
        HAVING SUM(qty) > 4
        ORDER BY NULL
    )
);
-- holds by holds_buyer, index only
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @script_time = SYSDATE(6);

SET @expires_at = @script_time + INTERVAL ? MICROSECOND;

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (1, ?, @script_time, @expires_at, 1, ?, ?);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@script_time AS DATETIME(6)) AS script_time;

-- # A buyer over the limit: optimistic, which fails, then locked

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
WHERE (`products`.`id` = 1)
FOR UPDATE;
-- products by PRIMARY

SELECT
    UNHEX(buyer) AS buyer_id,
    CAST(SUM(qty) AS SIGNED) AS units,
    CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
    COUNT(*) AS holds,
    MAX(id) AS last_id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
GROUP BY buyer
ORDER BY NULL;
-- holds by holds_buyer, index only

COMMIT;

-- # A buyer over the limit, of a product that is known to refuse: unlocked

SELECT
    `products`.`id`,
    `products`.`price_cents`,
    `products`.`total_stock`,
    `products`.`available_stock`,
    `products`.`max_per_buyer`,
    `products`.`starts_at`,
    `products`.`ends_at`,
    `products`.`paused`,
    SYSDATE(6) AS now,
    CAST(
        EXISTS (
            SELECT 1
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = 1
                AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
        )
        OR EXISTS (
            SELECT 1
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = 1
                AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
        ) AS SIGNED
    ) AS any_to_take_back,
    units_by_buyer.*
FROM products
LEFT JOIN (
    SELECT
        UNHEX(buyer) AS buyer_id,
        CAST(SUM(qty) AS SIGNED) AS units,
        CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
        COUNT(*) AS holds,
        MAX(id) AS last_id
    FROM
        JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
        AND buyer_id = UNHEX(buyer)
        AND status = ELT(number, 'active', 'used')
    GROUP BY buyer
    ORDER BY NULL
) AS units_by_buyer ON TRUE
WHERE id = 1;
-- holds by holds_buyer, index only
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- products by PRIMARY

-- # A buyer with many holds: each kind of statement that many calls send

BEGIN;

COMMIT;

INSERT INTO
    `holds` (`product_id`, `unit_price_cents`, `created_at`, `expires_at`, `qty`, `request_id`, `buyer_id`)
VALUES (24, ?, @script_time, @expires_at, 1, ?, ?);

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@script_time AS DATETIME(6)) AS script_time;

SELECT
    UNHEX(buyer) AS buyer_id,
    CAST(SUM(qty) AS SIGNED) AS units,
    CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
    COUNT(*) AS holds,
    MAX(id) AS last_id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 24
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
GROUP BY buyer
ORDER BY NULL;
-- holds by holds_buyer, index only

SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) AS units, COALESCE(MAX(id), 0) AS last_id
FROM holds FORCE INDEX (holds_buyer)
WHERE product_id = 24 AND buyer_id = 'box' AND status IN ('active', 'used') AND id > ?;
-- holds by holds_buyer, index only

SELECT `products`.`id`
FROM `products`
WHERE (`products`.`id` = 24)
FOR UPDATE;
-- products by PRIMARY, index only

SET @expires_at = @script_time + INTERVAL ? MICROSECOND;

SET @rows = ? + (ROW_COUNT() <> 1), @script_time = SYSDATE(6);

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 1)
WHERE (
    (
        (
            (
                (
                    (
                        (
                            ((`products`.`id` = 24) AND (`products`.`available_stock` >= 1))
                            AND (`products`.`price_cents` = ?)
                        )
                        AND NOT (`products`.`paused`)
                    )
                    AND ((`products`.`starts_at` IS NULL) OR (`products`.`starts_at` <= SYSDATE(6)))
                )
                AND ((`products`.`ends_at` IS NULL) OR (`products`.`ends_at` > SYSDATE(6)))
            )
            AND (SYSDATE(6) <= ?)
        )
        AND (`products`.`max_per_buyer` = ?)
    )
    AND TRUE
    AND ? >= COALESCE(
        (
            SELECT SUM(qty)
            FROM holds FORCE INDEX (holds_buyer)
            WHERE product_id = 24
                AND buyer_id = ? AND status IN ('active', 'used') AND id > ?
        ),
        0
    )
);
-- holds by holds_buyer, index only
-- products by PRIMARY

UPDATE `products` SET
    `available_stock` = (`products`.`available_stock` - 1)
WHERE (
    (
        (
            (
                (
                    (
                        (
                            ((`products`.`id` = 24) AND (`products`.`available_stock` >= 1))
                            AND (`products`.`price_cents` = ?)
                        )
                        AND NOT (`products`.`paused`)
                    )
                    AND ((`products`.`starts_at` IS NULL) OR (`products`.`starts_at` <= SYSDATE(6)))
                )
                AND ((`products`.`ends_at` IS NULL) OR (`products`.`ends_at` > SYSDATE(6)))
            )
            AND (SYSDATE(6) <= ?)
        )
        AND (`products`.`max_per_buyer` = ?)
    )
    AND TRUE
    AND NOT EXISTS (
        SELECT 1
        FROM
            JSON_TABLE(?, '$[*]' COLUMNS (buyer VARCHAR(510) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 24
            AND buyer_id = UNHEX(buyer)
            AND status = ELT(number, 'active', 'used')
        GROUP BY buyer
        HAVING SUM(qty) > ?
        ORDER BY NULL
    )
);
-- holds by holds_buyer, index only
-- products by PRIMARY

-- # Nothing is known of the product: locked

BEGIN;

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 23
FOR UPDATE;
-- products by PRIMARY

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (23, ?, ?, ?, 1, ?, NULL);

UPDATE products SET
    available_stock = available_stock - 1
WHERE id = 23 AND available_stock >= 1;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS moment;

-- # The product is known to sell: optimistic

BEGIN;

UPDATE products SET
    available_stock = available_stock - 1
WHERE
    id = 23
    AND available_stock >= 1
    AND price_cents = ?
    AND max_per_buyer IS NULL
    AND NOT paused
    AND (starts_at IS NULL OR starts_at <= SYSDATE(6))
    AND (ends_at IS NULL OR ends_at > SYSDATE(6))
    AND SYSDATE(6) <= ?;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @moment = SYSDATE(6);

SET @expires_at = @moment + INTERVAL ? MICROSECOND;

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (23, ?, @moment, @expires_at, 1, ?, NULL);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@moment AS DATETIME(6)) AS moment;

-- # A repeat: optimistic, which fails, then locked

BEGIN;

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 23
FOR UPDATE;
-- products by PRIMARY

SELECT
    id,
    product_id,
    qty,
    unit_price_cents,
    status,
    expires_at,
    created_at,
    buyer_id,
    request_id,
    SYSDATE(6) AS now
FROM holds FORCE INDEX (holds_request)
WHERE product_id = 23 AND request_id IN ('mine');
-- holds by holds_request

COMMIT;

-- # The product is known to refuse, but has units: unlocked, then locked

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
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
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 23
FOR UPDATE;
-- products by PRIMARY

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (23, ?, ?, ?, 1, ?, NULL);

UPDATE products SET
    available_stock = available_stock - 1
WHERE id = 23 AND available_stock >= 1;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS moment;

-- # More than there is: optimistic, which fails, then locked

BEGIN;

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 23
FOR UPDATE;
-- products by PRIMARY

SELECT id, product_id, qty, expires_at
FROM holds FORCE INDEX (holds_product_expiry)
WHERE product_id = 23 AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
ORDER BY expires_at
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (orders_product_due)
WHERE product_id = 23 AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
ORDER BY payment_due_at
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

COMMIT;

-- # More than there is, of a product that is known to refuse: unlocked

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
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
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 20
FOR UPDATE;
-- products by PRIMARY

SELECT id, product_id, qty, expires_at
FROM holds FORCE INDEX (holds_product_expiry)
WHERE product_id = 20 AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
ORDER BY expires_at
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'expired'
WHERE id IN (?, …) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 84);

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (20, ?, ?, ?, 1, ?, NULL);

UPDATE products SET
    available_stock = available_stock + 83
WHERE id = 20 AND available_stock + 83 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS moment;

-- # Too few units, but overdue orders: optimistic, which fails, then locked

BEGIN;

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 20
FOR UPDATE;
-- products by PRIMARY

SELECT id, product_id, qty, expires_at
FROM holds FORCE INDEX (holds_product_expiry)
WHERE product_id = 20 AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
ORDER BY expires_at
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (orders_product_due)
WHERE product_id = 20 AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
ORDER BY payment_due_at
LIMIT 100
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

SELECT
    id,
    product_id,
    qty,
    unit_price_cents,
    status,
    expires_at,
    created_at,
    buyer_id,
    request_id,
    SYSDATE(6) AS now
FROM holds FORCE INDEX (PRIMARY)
WHERE id IN (?, …)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

UPDATE orders FORCE INDEX (PRIMARY) SET
    status = 'cancelled'
WHERE id IN (?, …) AND status = 'pending';
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 40);

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'cancelled'
WHERE id IN (?, …) AND status = 'used';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 40);

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (20, ?, ?, ?, 100, ?, NULL);

UPDATE products SET
    available_stock = available_stock - 60
WHERE id = 20 AND available_stock >= 60;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS moment;

-- # A limit for each buyer, and a buyer with expired holds: locked

BEGIN;

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 1
FOR UPDATE;
-- products by PRIMARY

SELECT
    UNHEX(buyer) AS buyer_id,
    CAST(SUM(qty) AS SIGNED) AS units,
    CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
    COUNT(*) AS holds,
    MAX(id) AS last_id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
GROUP BY buyer
ORDER BY NULL;
-- holds by holds_buyer, index only

SELECT id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
    AND number = 1
    AND expires_at < UTC_TIMESTAMP(6)
LIMIT ?;
-- holds by holds_buyer, index only

SELECT buyer_id, id, product_id, qty, expires_at
FROM holds FORCE INDEX (PRIMARY)
WHERE status = 'active' AND id IN (?, …)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'expired'
WHERE id IN (?, …) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 12);

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (1, ?, ?, ?, 1, ?, ?);

UPDATE products SET
    available_stock = available_stock + 11
WHERE id = 1 AND available_stock + 11 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS moment;

-- # A limit for each buyer: optimistic

BEGIN;

SELECT id
FROM products
WHERE id = 1
FOR UPDATE;
-- products by PRIMARY, index only

UPDATE products SET
    available_stock = available_stock - 1
WHERE
    id = 1
    AND available_stock >= 1
    AND price_cents = ?
    AND max_per_buyer = 5
    AND NOT paused
    AND (starts_at IS NULL OR starts_at <= SYSDATE(6))
    AND (ends_at IS NULL OR ends_at > SYSDATE(6))
    AND SYSDATE(6) <= ?
    AND NOT EXISTS (
        SELECT 1
        FROM
            JSON_TABLE(?, '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
            AND buyer_id = UNHEX(buyer)
            AND status = ELT(number, 'active', 'used')
        GROUP BY buyer
        HAVING SUM(qty) > 4
        ORDER BY NULL
    );
-- holds by holds_buyer, index only
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1), @moment = SYSDATE(6);

SET @expires_at = @moment + INTERVAL ? MICROSECOND;

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (1, ?, @moment, @expires_at, 1, ?, ?);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@moment AS DATETIME(6)) AS moment;

-- # A buyer over the limit: optimistic, which fails, then locked

BEGIN;

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
    SYSDATE(6) AS now
FROM products
WHERE id = 1
FOR UPDATE;
-- products by PRIMARY

SELECT
    UNHEX(buyer) AS buyer_id,
    CAST(SUM(qty) AS SIGNED) AS units,
    CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
    COUNT(*) AS holds,
    MAX(id) AS last_id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
GROUP BY buyer
ORDER BY NULL;
-- holds by holds_buyer, index only

COMMIT;

-- # A buyer over the limit, of a product that is known to refuse: unlocked

SELECT
    id,
    price_cents,
    total_stock,
    available_stock,
    max_per_buyer,
    starts_at,
    ends_at,
    paused,
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
    taken.*
FROM products
LEFT JOIN (
    SELECT
        UNHEX(buyer) AS buyer_id,
        CAST(SUM(qty) AS SIGNED) AS units,
        CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
        COUNT(*) AS holds,
        MAX(id) AS last_id
    FROM
        JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 1
        AND buyer_id = UNHEX(buyer)
        AND status = ELT(number, 'active', 'used')
    GROUP BY buyer
    ORDER BY NULL
) AS taken ON TRUE
WHERE id = 1;
-- holds by holds_buyer, index only
-- holds by holds_product_expiry, index only
-- orders by orders_product_due, index only
-- products by PRIMARY

-- # A buyer with many holds: each kind of statement that many calls send

BEGIN;

COMMIT;

INSERT INTO holds (product_id, unit_price_cents, created_at, expires_at, qty, request_id, buyer_id)
VALUES (24, ?, @moment, @expires_at, 1, ?, ?);

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(@moment AS DATETIME(6)) AS moment;

SELECT
    UNHEX(buyer) AS buyer_id,
    CAST(SUM(qty) AS SIGNED) AS units,
    CAST(SUM(IF (status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units,
    COUNT(*) AS holds,
    MAX(id) AS last_id
FROM
    JSON_TABLE(CONVERT (? USING utf8mb4), '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 24
    AND buyer_id = UNHEX(buyer)
    AND status = ELT(number, 'active', 'used')
GROUP BY buyer
ORDER BY NULL;
-- holds by holds_buyer, index only

SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) AS units, COALESCE(MAX(id), 0) AS last_id
FROM holds FORCE INDEX (holds_buyer)
WHERE product_id = 24 AND buyer_id = 'box' AND status IN ('active', 'used') AND id > ?;
-- holds by holds_buyer, index only

SELECT id
FROM products
WHERE id = 24
FOR UPDATE;
-- products by PRIMARY, index only

SET @expires_at = @moment + INTERVAL ? MICROSECOND;

SET @rows = ? + (ROW_COUNT() <> 1), @moment = SYSDATE(6);

UPDATE products SET
    available_stock = available_stock - 1
WHERE
    id = 24
    AND available_stock >= 1
    AND price_cents = ?
    AND max_per_buyer = ?
    AND NOT paused
    AND (starts_at IS NULL OR starts_at <= SYSDATE(6))
    AND (ends_at IS NULL OR ends_at > SYSDATE(6))
    AND SYSDATE(6) <= ?
    AND ? >= COALESCE(
        (
            SELECT SUM(qty)
            FROM holds FORCE INDEX (holds_buyer)
            WHERE product_id = 24
                AND buyer_id = ? AND status IN ('active', 'used') AND id > ?
        ),
        0
    );
-- holds by holds_buyer, index only
-- products by PRIMARY

UPDATE products SET
    available_stock = available_stock - 1
WHERE
    id = 24
    AND available_stock >= 1
    AND price_cents = ?
    AND max_per_buyer = ?
    AND NOT paused
    AND (starts_at IS NULL OR starts_at <= SYSDATE(6))
    AND (ends_at IS NULL OR ends_at > SYSDATE(6))
    AND SYSDATE(6) <= ?
    AND NOT EXISTS (
        SELECT 1
        FROM
            JSON_TABLE(?, '$[*]' COLUMNS (buyer VARCHAR(128) PATH '$')) AS asked_for STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts STRAIGHT_JOIN holds FORCE INDEX (holds_buyer) ON product_id = 24
            AND buyer_id = UNHEX(buyer)
            AND status = ELT(number, 'active', 'used')
        GROUP BY buyer
        HAVING SUM(qty) > ?
        ORDER BY NULL
    );
-- holds by holds_buyer, index only
-- products by PRIMARY

-- # Whether a product is being sold

SELECT
    CAST(
        EXISTS (
            SELECT 1
            FROM holds FORCE INDEX (PRIMARY)
            WHERE
                id > (SELECT MAX(id) FROM holds) - ?
                AND created_at > UTC_TIMESTAMP(6) - INTERVAL 1 SECOND
                AND product_id IN (?, …)
        ) AS SIGNED
    ) AS just_made;
-- holds by PRIMARY

-- # Any product

BEGIN;

SELECT id, product_id, qty, expires_at
FROM holds FORCE INDEX (holds_expiry)
WHERE
    status = 'active'
    AND expires_at >= TIMESTAMP ? + INTERVAL 0 MICROSECOND
    AND (expires_at > TIMESTAMP ? + INTERVAL 0 MICROSECOND OR id > 0)
    AND expires_at < UTC_TIMESTAMP(6)
ORDER BY expires_at, id
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_expiry

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
FROM products FORCE INDEX (PRIMARY)
WHERE id IN (?, …)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'expired'
WHERE id IN (?, …) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2);

UPDATE products SET
    available_stock = available_stock + 1
WHERE id = 17 AND available_stock + 1 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE products SET
    available_stock = available_stock + 1
WHERE id = 18 AND available_stock + 1 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE sweeper_state SET
    holds_expired = holds_expired + 2,
    orders_cancelled = orders_cancelled + 0,
    stock_released = stock_released + 2,
    progress_at = UTC_TIMESTAMP(6),
    latest_at = GREATEST(latest_at, UTC_TIMESTAMP(6))
WHERE id = 1;
-- sweeper_state by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A busy product by itself

BEGIN;

SELECT id, product_id, qty, expires_at
FROM holds FORCE INDEX (holds_product_expiry)
WHERE
    product_id = 1
    AND status = 'active'
    AND expires_at >= TIMESTAMP ? + INTERVAL 0 MICROSECOND
    AND (expires_at > TIMESTAMP ? + INTERVAL 0 MICROSECOND OR id > 0)
    AND expires_at < UTC_TIMESTAMP(6)
ORDER BY expires_at, id
LIMIT 2
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

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
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM holds FORCE INDEX (holds_product_expiry)
        WHERE product_id = 1
            AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
    ) AS lapsed_held,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = 1
            AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS lapsed_ordered
FROM products
WHERE id = 1;
-- holds by holds_product_expiry
-- orders by orders_product_due
-- products by PRIMARY

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'expired'
WHERE id IN (?, …) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 2);

UPDATE products SET
    available_stock = available_stock + 2
WHERE id = 1 AND available_stock + 2 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE sweeper_state SET
    holds_expired = holds_expired + 2,
    orders_cancelled = orders_cancelled + 0,
    stock_released = stock_released + 2,
    progress_at = UTC_TIMESTAMP(6),
    latest_at = GREATEST(latest_at, UTC_TIMESTAMP(6))
WHERE id = 1;
-- sweeper_state by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A read of a product with units past their time

SELECT name
FROM products
WHERE id = 4;
-- products by PRIMARY

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
        WHERE product_id = 4
            AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
    ) AS lapsed_held,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = 4
            AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS lapsed_ordered
FROM products
WHERE id = 4;
-- holds by holds_product_expiry
-- orders by orders_product_due
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
FROM products FORCE INDEX (PRIMARY)
WHERE id IN (4)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

SELECT id, product_id, qty, expires_at
FROM holds FORCE INDEX (holds_product_expiry)
WHERE product_id = 4 AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
ORDER BY expires_at
LIMIT ?
FOR UPDATE SKIP LOCKED;
-- holds by holds_product_expiry

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (orders_product_due)
WHERE product_id = 4 AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
ORDER BY payment_due_at
LIMIT ?
FOR UPDATE SKIP LOCKED;
-- orders by orders_product_due

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'expired'
WHERE id IN (?, …) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 84);

UPDATE products SET
    available_stock = available_stock + 84
WHERE id = 4 AND available_stock + 84 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # An active hold

BEGIN;

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
WHERE id IN (?)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- holds by PRIMARY

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
WHERE id IN (21)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- products by PRIMARY

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'cancelled'
WHERE id IN (?) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE products SET
    available_stock = available_stock + 1
WHERE id = 21 AND available_stock + 1 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

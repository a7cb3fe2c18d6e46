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

INSERT INTO orders (hold_id, product_id, qty, amount_cents, payment_due_at, created_at, request_id)
VALUES (?, 21, 1, ?, ?, ?, ?);

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'used'
WHERE id IN (?) AND status = 'active';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

SELECT
    CAST(LAST_INSERT_ID () AS SIGNED) AS first,
    CAST(@@session.auto_increment_increment AS SIGNED) AS step,
    CAST(NULL AS DATETIME(6)) AS moment;

-- # A repeat

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

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (orders_hold)
WHERE hold_id IN (?);
-- orders by orders_hold

COMMIT;

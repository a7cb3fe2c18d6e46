-- # A success

BEGIN;

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (PRIMARY)
WHERE id IN (?)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

INSERT INTO
    payment_webhooks (idempotency_key, order_id, product_id, status, amount_cents, order_status, result, created_at)
VALUES (?, ?, 21, 'success', NULL, 'paid', 'applied', UTC_TIMESTAMP(6));

UPDATE orders FORCE INDEX (PRIMARY) SET
    status = 'paid'
WHERE id IN (?) AND status = 'pending';
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A success that came twice

BEGIN;

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (PRIMARY)
WHERE id IN (?)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

SELECT idempotency_key, order_id, status, amount_cents, order_status, result
FROM payment_webhooks FORCE INDEX (payment_webhooks_key)
WHERE idempotency_key IN ('two');
-- payment_webhooks by payment_webhooks_key

INSERT INTO
    payment_webhooks (idempotency_key, order_id, product_id, status, amount_cents, order_status, result, created_at)
VALUES (?, ?, 21, 'success', NULL, 'paid', 'duplicate_success', UTC_TIMESTAMP(6));

INSERT INTO payment_exceptions (kind, order_id, product_id, idempotency_key, amount_cents, created_at)
VALUES ('duplicate_success', ?, 21, ?, NULL, UTC_TIMESTAMP(6));

COMMIT;

-- # A failure

BEGIN;

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (PRIMARY)
WHERE id IN (?)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

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

INSERT INTO
    payment_webhooks (idempotency_key, order_id, product_id, status, amount_cents, order_status, result, created_at)
VALUES (?, ?, 21, 'failure', NULL, 'cancelled', 'applied', UTC_TIMESTAMP(6));

UPDATE orders FORCE INDEX (PRIMARY) SET
    status = 'cancelled'
WHERE id IN (?) AND status = 'pending';
-- orders by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE holds FORCE INDEX (PRIMARY) SET
    status = 'cancelled'
WHERE id IN (?) AND status = 'used';
-- holds by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

UPDATE products SET
    available_stock = available_stock + 1
WHERE id = 21 AND available_stock + 1 <= total_stock;
-- products by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

-- # A success after the cancellation

BEGIN;

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (PRIMARY)
WHERE id IN (?)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

SELECT idempotency_key, order_id, status, amount_cents, order_status, result
FROM payment_webhooks FORCE INDEX (payment_webhooks_key)
WHERE idempotency_key IN ('four');
-- payment_webhooks by payment_webhooks_key

INSERT INTO
    payment_webhooks (idempotency_key, order_id, product_id, status, amount_cents, order_status, result, created_at)
VALUES (?, ?, 21, 'success', NULL, 'cancelled', 'late_success', UTC_TIMESTAMP(6));

INSERT INTO payment_exceptions (kind, order_id, product_id, idempotency_key, amount_cents, created_at)
VALUES ('late_success', ?, 21, ?, NULL, UTC_TIMESTAMP(6));

COMMIT;

-- # A repeat

BEGIN;

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (PRIMARY)
WHERE id IN (?)
ORDER BY id
FOR UPDATE SKIP LOCKED;
-- orders by PRIMARY

SELECT idempotency_key, order_id, status, amount_cents, order_status, result
FROM payment_webhooks FORCE INDEX (payment_webhooks_key)
WHERE idempotency_key IN ('four');
-- payment_webhooks by payment_webhooks_key

COMMIT;

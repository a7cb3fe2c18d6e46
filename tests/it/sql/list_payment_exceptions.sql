-- # What is open

SELECT
    id,
    kind,
    order_id,
    idempotency_key,
    amount_cents,
    created_at,
    resolved_at,
    note,
    SYSDATE(6) AS now
FROM payment_exceptions FORCE INDEX (payment_exceptions_open)
WHERE resolved_at IS NULL AND id < ?
ORDER BY id DESC
LIMIT 51;
-- payment_exceptions by payment_exceptions_open

-- # All

SELECT
    id,
    kind,
    order_id,
    idempotency_key,
    amount_cents,
    created_at,
    resolved_at,
    note,
    SYSDATE(6) AS now
FROM payment_exceptions FORCE INDEX (PRIMARY)
WHERE id < ?
ORDER BY id DESC
LIMIT 51;
-- payment_exceptions by PRIMARY

-- # What is open, of a product

SELECT
    id,
    kind,
    order_id,
    idempotency_key,
    amount_cents,
    created_at,
    resolved_at,
    note,
    SYSDATE(6) AS now
FROM payment_exceptions FORCE INDEX (payment_exceptions_product_open)
WHERE product_id = 2 AND resolved_at IS NULL AND id < ?
ORDER BY id DESC
LIMIT 51;
-- payment_exceptions by payment_exceptions_product_open

-- # All of a product

SELECT
    id,
    kind,
    order_id,
    idempotency_key,
    amount_cents,
    created_at,
    resolved_at,
    note,
    SYSDATE(6) AS now
FROM payment_exceptions FORCE INDEX (payment_exceptions_product)
WHERE product_id = 2 AND id < ?
ORDER BY id DESC
LIMIT 51;
-- payment_exceptions by payment_exceptions_product

-- # An open one

BEGIN;

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
FROM payment_exceptions
WHERE id = ?
FOR UPDATE;
-- payment_exceptions by PRIMARY

UPDATE payment_exceptions SET
    resolved_at = ?, note = ?
WHERE id = ? AND resolved_at IS NULL;
-- payment_exceptions by PRIMARY

SET @rows = ? + (ROW_COUNT() <> 1);

COMMIT;

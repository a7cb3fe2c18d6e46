-- # Any hold

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
WHERE id IN (?);
-- holds by PRIMARY

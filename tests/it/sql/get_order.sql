-- # Any order

SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id
FROM orders FORCE INDEX (PRIMARY)
WHERE id IN (?);
-- orders by PRIMARY

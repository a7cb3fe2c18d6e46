-- # Any product

SELECT
    total_stock,
    available_stock,
    CAST(COALESCE(held_stock, 0) AS SIGNED) AS held_stock,
    CAST(COALESCE(lapsed_held, 0) AS SIGNED) AS lapsed_held,
    CAST(COALESCE(lapsed_holds, 0) AS SIGNED) AS lapsed_holds,
    CAST(COALESCE(pending_stock, 0) AS SIGNED) AS pending_stock,
    CAST(COALESCE(lapsed_ordered, 0) AS SIGNED) AS lapsed_ordered,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = 21
            AND status = 'paid'
    ) AS paid_stock,
    CAST(COALESCE(holds_active, 0) AS SIGNED) AS holds_active,
    CAST(COALESCE(holds_used, 0) AS SIGNED) AS holds_used,
    CAST(COALESCE(holds_expired, 0) AS SIGNED) AS holds_expired,
    CAST(COALESCE(holds_cancelled, 0) AS SIGNED) AS holds_cancelled,
    CAST(COALESCE(orders_pending, 0) AS SIGNED) AS orders_pending,
    CAST(COALESCE(orders_paid, 0) AS SIGNED) AS orders_paid,
    CAST(COALESCE(orders_cancelled, 0) AS SIGNED) AS orders_cancelled
FROM products
JOIN (
    SELECT
        SUM(qty) AS held_stock,
        SUM(IF (expires_at < UTC_TIMESTAMP(6), qty, 0)) AS lapsed_held,
        SUM(expires_at < UTC_TIMESTAMP(6)) AS lapsed_holds
    FROM holds FORCE INDEX (holds_product_expiry)
    WHERE product_id = 21
        AND status = 'active'
) AS active_holds
JOIN (
    SELECT SUM(qty) AS pending_stock, SUM(IF (payment_due_at < UTC_TIMESTAMP(6), qty, 0)) AS lapsed_ordered
    FROM orders FORCE INDEX (orders_product_due)
    WHERE product_id = 21
        AND status = 'pending'
) AS pending_orders
JOIN (
    SELECT
        SUM(status = 'active') AS holds_active,
        SUM(status = 'used') AS holds_used,
        SUM(status = 'expired') AS holds_expired,
        SUM(status = 'cancelled') AS holds_cancelled
    FROM holds FORCE INDEX (holds_product_expiry)
    WHERE product_id = 21
) AS hold_counts
JOIN (
    SELECT
        SUM(status = 'pending') AS orders_pending,
        SUM(status = 'paid') AS orders_paid,
        SUM(status = 'cancelled') AS orders_cancelled
    FROM orders FORCE INDEX (orders_product_due)
    WHERE product_id = 21
) AS order_counts
WHERE products.id = 21;
-- holds by holds_product_expiry
-- holds by holds_product_expiry, index only
-- orders by orders_product_due
-- orders by orders_product_due, index only
-- products by PRIMARY

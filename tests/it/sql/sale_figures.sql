-- # A page of metrics

SELECT
    (
        SELECT CAST(COUNT(*) AS SIGNED)
        FROM holds FORCE INDEX (holds_expiry)
        WHERE status = 'active'
            AND expires_at < UTC_TIMESTAMP(6)
    ) AS holds_overdue,
    CAST(
        COALESCE(
            TIMESTAMPDIFF(
                MICROSECOND,
                (
                    SELECT MIN(expires_at)
                    FROM holds FORCE INDEX (holds_expiry)
                    WHERE status = 'active'
                        AND expires_at < UTC_TIMESTAMP(6)
                ),
                UTC_TIMESTAMP(6)
            ),
            0
        ) AS SIGNED
    ) AS oldest_overdue_microseconds,
    (
        SELECT CAST(COUNT(*) AS SIGNED)
        FROM orders FORCE INDEX (orders_due)
        WHERE status = 'pending'
            AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS orders_overdue,
    (
        SELECT CAST(COUNT(*) AS SIGNED)
        FROM payment_exceptions FORCE INDEX (payment_exceptions_open)
        WHERE resolved_at IS NULL
            AND kind = 'late_success'
    ) AS late_successes,
    (
        SELECT CAST(COUNT(*) AS SIGNED)
        FROM payment_exceptions FORCE INDEX (payment_exceptions_open)
        WHERE resolved_at IS NULL
            AND kind = 'duplicate_success'
    ) AS duplicate_successes,
    (
        SELECT CAST(COUNT(*) AS SIGNED)
        FROM payment_exceptions FORCE INDEX (payment_exceptions_open)
        WHERE resolved_at IS NULL
            AND kind = 'amount_mismatch'
    ) AS amount_mismatches,
    CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, ?, sweeper_state.last_run_at), 0) AS SIGNED) AS swept_at_microseconds,
    sweeper_state.runs AS sweeps,
    sweeper_state.holds_expired AS holds_expired,
    sweeper_state.orders_cancelled AS orders_cancelled,
    sweeper_state.stock_released AS stock_released,
    CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, ?, audit_state.last_success_at), 0) AS SIGNED) AS audited_at_microseconds,
    audit_state.findings AS findings,
    newest.id AS product_id,
    newest.total_stock AS total_stock,
    newest.available_stock AS available_stock,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM holds FORCE INDEX (holds_product_expiry)
        WHERE product_id = newest.id
            AND status = 'active'
    ) AS held_stock,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = newest.id
            AND status = 'pending'
    ) AS pending_stock,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = newest.id
            AND status = 'paid'
    ) AS paid_stock,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM holds FORCE INDEX (holds_product_expiry)
        WHERE product_id = newest.id
            AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)
    ) AS lapsed_held,
    (
        SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED)
        FROM orders FORCE INDEX (orders_product_due)
        WHERE product_id = newest.id
            AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)
    ) AS lapsed_ordered
FROM sweeper_state
JOIN audit_state ON audit_state.id = sweeper_state.id
LEFT JOIN (
    SELECT id, total_stock, available_stock
    FROM (
        SELECT id, total_stock, available_stock, ends_at
        FROM products FORCE INDEX (PRIMARY)
        WHERE id < ?
        ORDER BY id DESC
        LIMIT ?
    ) AS recent
    WHERE ends_at IS NULL
        OR ends_at > UTC_TIMESTAMP(6) - INTERVAL 1 DAY
    ORDER BY id DESC
    LIMIT 50
) AS newest ON TRUE
WHERE sweeper_state.id = 1;
-- audit_state by PRIMARY
-- holds by holds_expiry, index only
-- holds by holds_product_expiry
-- orders by orders_due, index only
-- orders by orders_product_due
-- payment_exceptions by payment_exceptions_open
-- products by PRIMARY
-- sweeper_state by PRIMARY

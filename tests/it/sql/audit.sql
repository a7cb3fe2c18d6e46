-- # All tables in one page each

SELECT
    CONCAT(table_name, ' ', index_name) AS `key`,
    GROUP_CONCAT (column_name ORDER BY seq_in_index SEPARATOR ',') AS `columns`,
    CAST(MAX(non_unique) AS SIGNED) AS repeats
FROM information_schema.statistics
WHERE table_schema = DATABASE ()
GROUP BY table_name, index_name;

SELECT COALESCE(MAX(id), 0) AS number
FROM holds;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (SELECT id FROM holds FORCE INDEX (PRIMARY) WHERE id > -? AND id <= ? ORDER BY id LIMIT ?) AS page;

SELECT
    holds.product_id AS product_id,
    NULL AS related_product_id,
    holds.id AS hold_id,
    NULL AS order_id,
    NULL AS webhook_id,
    NULL AS exception_id,
    NULL AS adjustment_id,
    CONCAT_WS('', 'expires_at at or after created_at ', holds.created_at) AS expected,
    CONCAT_WS('', 'expires_at ', holds.expires_at) AS found
FROM (SELECT * FROM holds FORCE INDEX (PRIMARY) WHERE id IN (?, …)) AS holds
LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = holds.product_id
WHERE holds.created_at > holds.expires_at
ORDER BY holds.id;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (SELECT id FROM holds FORCE INDEX (PRIMARY) WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) AS page;

SELECT COALESCE(MAX(id), 0) AS number
FROM orders;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (SELECT id FROM orders FORCE INDEX (PRIMARY) WHERE id > -? AND id <= ? ORDER BY id LIMIT ?) AS page;

SELECT
    orders.product_id AS product_id,
    holds.product_id AS related_product_id,
    orders.hold_id AS hold_id,
    orders.id AS order_id,
    NULL AS webhook_id,
    NULL AS exception_id,
    NULL AS adjustment_id,
    CONCAT_WS('', 'payment_due_at at or after created_at ', orders.created_at) AS expected,
    CONCAT_WS('', 'payment_due_at ', orders.payment_due_at) AS found
FROM (
    SELECT
        orders.*,
        (
            SELECT COUNT(*)
            FROM payment_webhooks FORCE INDEX (payment_webhooks_order)
            WHERE order_id = orders.id
                AND result = 'applied' AND status = 'success'
        ) AS payments,
        (
            SELECT COUNT(*)
            FROM payment_webhooks FORCE INDEX (payment_webhooks_order)
            WHERE order_id = orders.id
                AND result = 'applied' AND status = 'failure'
        ) AS failures,
        (
            SELECT COUNT(*)
            FROM payment_webhooks FORCE INDEX (payment_webhooks_order)
            JOIN payment_exceptions FORCE INDEX (payment_exceptions_key) USING (idempotency_key)
            WHERE payment_webhooks.order_id = orders.id
                AND accepted
        ) AS acceptances
    FROM orders FORCE INDEX (PRIMARY)
    WHERE id IN (?, …)
    LIMIT ?
) AS orders
LEFT JOIN holds FORCE INDEX (PRIMARY) ON holds.id = orders.hold_id
LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = orders.product_id
WHERE orders.payment_due_at < orders.created_at
ORDER BY orders.id;

SELECT
    orders.product_id AS product_id,
    holds.product_id AS related_product_id,
    orders.hold_id AS hold_id,
    orders.id AS order_id,
    NULL AS webhook_id,
    NULL AS exception_id,
    NULL AS adjustment_id,
    CONCAT_WS('', 'made by ', holds.expires_at) AS expected,
    CONCAT_WS('', 'made ', orders.created_at) AS found
FROM (
    SELECT
        orders.*,
        (
            SELECT COUNT(*)
            FROM payment_webhooks FORCE INDEX (payment_webhooks_order)
            WHERE order_id = orders.id
                AND result = 'applied' AND status = 'success'
        ) AS payments,
        (
            SELECT COUNT(*)
            FROM payment_webhooks FORCE INDEX (payment_webhooks_order)
            WHERE order_id = orders.id
                AND result = 'applied' AND status = 'failure'
        ) AS failures,
        (
            SELECT COUNT(*)
            FROM payment_webhooks FORCE INDEX (payment_webhooks_order)
            JOIN payment_exceptions FORCE INDEX (payment_exceptions_key) USING (idempotency_key)
            WHERE payment_webhooks.order_id = orders.id
                AND accepted
        ) AS acceptances
    FROM orders FORCE INDEX (PRIMARY)
    WHERE id IN (?, …)
    LIMIT ?
) AS orders
LEFT JOIN holds FORCE INDEX (PRIMARY) ON holds.id = orders.hold_id
LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = orders.product_id
WHERE orders.created_at > holds.expires_at
ORDER BY orders.id;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (SELECT id FROM orders FORCE INDEX (PRIMARY) WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) AS page;

SELECT COALESCE(MAX(id), 0) AS number
FROM payment_webhooks;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (
    SELECT id
    FROM payment_webhooks FORCE INDEX (PRIMARY)
    WHERE id > -?
        AND id <= ?
    ORDER BY id
    LIMIT ?
) AS page;

SELECT
    webhooks.id AS id,
    CONCAT_WS(
        ',',
        IF (orders.id IS NULL, 'webhook_without_order', NULL),
        IF (webhooks.product_id <> orders.product_id, 'webhook_product_differs', NULL),
        IF (
            CONCAT_WS(' ', webhooks.status, webhooks.result, webhooks.order_status) NOT IN (
                'success applied paid',
                'success unchanged paid',
                'failure applied cancelled',
                'failure unchanged paid',
                'failure unchanged cancelled',
                'attempt_failed attempt_failed pending',
                'attempt_failed attempt_failed paid',
                'attempt_failed attempt_failed cancelled',
                'success late_success cancelled',
                'success duplicate_success paid',
                'success amount_mismatch pending'
            ),
            'webhook_answer_impossible',
            NULL
        ),
        IF (
            webhooks.order_status <> 'pending'
            AND webhooks.order_status <> orders.status,
            'webhook_answer_differs',
            NULL
        ),
        IF (
            webhooks.amount_cents < 0
            OR webhooks.result = 'applied'
            AND webhooks.status = 'success'
            AND webhooks.amount_cents <> orders.amount_cents
            OR webhooks.result = 'amount_mismatch'
            AND COALESCE(webhooks.amount_cents = orders.amount_cents, webhooks.amount_cents IS NULL),
            'webhook_amount',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM payment_webhooks AS other FORCE INDEX (payment_webhooks_key)
                WHERE other.idempotency_key = webhooks.idempotency_key
                    AND other.id < webhooks.id
            ),
            'webhook_key_repeated',
            NULL
        ),
        IF (
            webhooks.result IN ('late_success', 'duplicate_success', 'amount_mismatch')
            AND NOT EXISTS (
                SELECT 1
                FROM payment_exceptions FORCE INDEX (payment_exceptions_key)
                WHERE payment_exceptions.idempotency_key = webhooks.idempotency_key
            ),
            'exception_missing',
            NULL
        )
    ) AS kinds
FROM (SELECT * FROM payment_webhooks FORCE INDEX (PRIMARY) WHERE id > -? AND id <= ?) AS webhooks
LEFT JOIN orders FORCE INDEX (PRIMARY) ON orders.id = webhooks.order_id
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM payment_webhooks FORCE INDEX (PRIMARY) WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) AS page;

SELECT COALESCE(MAX(id), 0) AS number
FROM payment_exceptions;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (
    SELECT id
    FROM payment_exceptions FORCE INDEX (PRIMARY)
    WHERE id > -?
        AND id <= ?
    ORDER BY id
    LIMIT ?
) AS page;

SELECT
    exceptions.id AS id,
    CONCAT_WS(
        ',',
        IF (webhooks.id IS NULL, 'exception_without_webhook', NULL),
        IF (orders.id IS NULL, 'exception_without_order', NULL),
        IF (
            exceptions.kind <> webhooks.result
            OR exceptions.order_id <> webhooks.order_id
            OR exceptions.product_id <> webhooks.product_id
            OR NOT exceptions.amount_cents <=> webhooks.amount_cents,
            'exception_differs',
            NULL
        ),
        IF ((exceptions.resolved_at IS NULL) <> (exceptions.note IS NULL), 'exception_resolution', NULL),
        IF (exceptions.resolved_at < exceptions.created_at, 'clock_went_back', NULL),
        IF (
            EXISTS (
                SELECT 1
                FROM payment_exceptions AS other FORCE INDEX (payment_exceptions_key)
                WHERE other.idempotency_key = exceptions.idempotency_key
                    AND other.id < exceptions.id
            ),
            'exception_key_repeated',
            NULL
        )
    ) AS kinds
FROM (SELECT * FROM payment_exceptions FORCE INDEX (PRIMARY) WHERE id > -? AND id <= ?) AS exceptions
LEFT JOIN
    payment_webhooks AS webhooks FORCE INDEX (payment_webhooks_key) ON webhooks.idempotency_key = exceptions.idempotency_key
LEFT JOIN orders FORCE INDEX (PRIMARY) ON orders.id = exceptions.order_id
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (
    SELECT id
    FROM payment_exceptions FORCE INDEX (PRIMARY)
    WHERE id > ?
        AND id <= ?
    ORDER BY id
    LIMIT ?
) AS page;

SELECT COALESCE(MAX(id), 0) AS number
FROM stock_adjustments;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (
    SELECT id
    FROM stock_adjustments FORCE INDEX (PRIMARY)
    WHERE id > -?
        AND id <= 1
    ORDER BY id
    LIMIT ?
) AS page;

SELECT
    adjustments.id AS id,
    CONCAT_WS(
        ',',
        IF (products.id IS NULL, 'adjustment_without_product', NULL),
        IF (
            adjustments.delta = 0
            OR adjustments.available_stock NOT BETWEEN 0 AND adjustments.total_stock
            OR CAST(adjustments.total_stock AS DECIMAL(30)) - adjustments.delta < 0,
            'adjustment_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM stock_adjustments AS other FORCE INDEX (stock_adjustments_request)
                WHERE
                    other.product_id = adjustments.product_id
                    AND other.request_id = adjustments.request_id
                    AND other.id < adjustments.id
            ),
            'adjustment_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (SELECT * FROM stock_adjustments FORCE INDEX (PRIMARY) WHERE id > -? AND id <= 1) AS adjustments
LEFT JOIN products FORCE INDEX (PRIMARY) ON products.id = adjustments.product_id
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM (
    SELECT id
    FROM stock_adjustments FORCE INDEX (PRIMARY)
    WHERE id > 1
        AND id <= 1
    ORDER BY id
    LIMIT ?
) AS page;

SELECT COALESCE(MAX(id), 0) AS number
FROM products;

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > -? AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > -?
        AND id <= 1
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 1 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 1
        AND id <= 2
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 2 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 2
        AND id <= 3
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 3 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 3
        AND id <= 4
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 4 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 4
        AND id <= 5
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 5 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 5
        AND id <= 6
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 6 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 6
        AND id <= 7
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 7 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 7
        AND id <= 8
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 8 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 8
        AND id <= 9
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 9 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 9
        AND id <= 10
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 10 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 10
        AND id <= 11
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 11 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 11
        AND id <= 12
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 12 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 12
        AND id <= 13
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 13 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 13
        AND id <= 14
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 14 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 14
        AND id <= 15
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 15 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 15
        AND id <= 16
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 16 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 16
        AND id <= 17
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 17 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 17
        AND id <= 18
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 18 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 18
        AND id <= 19
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 19 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 19
        AND id <= 20
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 20 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 20
        AND id <= 21
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 21 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 21
        AND id <= 22
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 22 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 22
        AND id <= 23
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 23 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT
    products.id AS id,
    CONCAT_WS(
        ',',
        IF (
            products.total_stock - held - pending - paid >= 0
            AND products.total_stock - held - pending - paid <> products.available_stock,
            'stock_not_conserved',
            NULL
        ),
        IF (products.total_stock - held - pending - paid < 0, 'stock_oversold', NULL),
        IF (products.available_stock NOT BETWEEN 0 AND products.total_stock, 'stock_out_of_bounds', NULL),
        IF (
            adjusted_total <> products.total_stock
            OR original_total + adjusted <> products.total_stock,
            'stock_adjustments_differ',
            NULL
        ),
        IF (
            products.price_cents < 0
            OR products.total_stock < 0
            OR products.max_per_buyer < 1
            OR products.ends_at <= products.starts_at,
            'product_values',
            NULL
        ),
        IF (
            EXISTS (
                SELECT 1
                FROM products AS other FORCE INDEX (products_request)
                WHERE other.request_id = products.request_id
                    AND other.id < products.id
            ),
            'product_request_id_repeated',
            NULL
        )
    ) AS kinds
FROM (
    SELECT
        products.*,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM holds FORCE INDEX (holds_product_expiry)
            WHERE product_id = products.id
                AND status = 'active'
        ) AS held,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'pending'
        ) AS pending,
        (
            SELECT COALESCE(SUM(qty), 0)
            FROM orders FORCE INDEX (orders_product_due)
            WHERE product_id = products.id
                AND status = 'paid'
        ) AS paid,
        (
            SELECT SUM(delta)
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
        ) AS adjusted,
        (
            SELECT CAST(total_stock AS DECIMAL(30)) - delta
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id
            LIMIT 1
        ) AS original_total,
        (
            SELECT total_stock
            FROM stock_adjustments FORCE INDEX (stock_adjustments_request)
            WHERE product_id = products.id
            ORDER BY id DESC
            LIMIT 1
        ) AS adjusted_total
    FROM products FORCE INDEX (PRIMARY)
    WHERE id > 23
        AND id <= 24
    LIMIT ?
) AS products
HAVING kinds <> '';

SELECT MAX(id) AS last, COUNT(*) AS count
FROM
    (SELECT id FROM products FORCE INDEX (PRIMARY) WHERE id > 24 AND id <= 24 ORDER BY id LIMIT 1) AS page;

SELECT COUNT(*) AS number
FROM holds FORCE INDEX (holds_expiry)
WHERE status = 'active' AND expires_at < UTC_TIMESTAMP(6);

SELECT COUNT(*) AS number
FROM orders FORCE INDEX (orders_due)
WHERE status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6);

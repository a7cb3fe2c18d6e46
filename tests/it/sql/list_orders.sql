-- # All of a product

(
    SELECT
        `orders`.`id`,
        `orders`.`hold_id`,
        `orders`.`product_id`,
        `orders`.`qty`,
        `orders`.`amount_cents`,
        `orders`.`status`,
        `orders`.`payment_due_at`,
        `orders`.`created_at`,
        `orders`.`request_id`,
        `orders`.`buyer_id`,
        `orders`.`settled_at`,
        `orders`.`payment_id`,
        SYSDATE(6)
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'pending'))
    ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `orders`.`id`,
        `orders`.`hold_id`,
        `orders`.`product_id`,
        `orders`.`qty`,
        `orders`.`amount_cents`,
        `orders`.`status`,
        `orders`.`payment_due_at`,
        `orders`.`created_at`,
        `orders`.`request_id`,
        `orders`.`buyer_id`,
        `orders`.`settled_at`,
        `orders`.`payment_id`,
        SYSDATE(6)
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'paid'))
    ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `orders`.`id`,
        `orders`.`hold_id`,
        `orders`.`product_id`,
        `orders`.`qty`,
        `orders`.`amount_cents`,
        `orders`.`status`,
        `orders`.`payment_due_at`,
        `orders`.`created_at`,
        `orders`.`request_id`,
        `orders`.`buyer_id`,
        `orders`.`settled_at`,
        `orders`.`payment_id`,
        SYSDATE(6)
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'cancelled'))
    ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
    LIMIT 2
);
-- orders by orders_product_due

-- # The next page

(
    SELECT
        `orders`.`id`,
        `orders`.`hold_id`,
        `orders`.`product_id`,
        `orders`.`qty`,
        `orders`.`amount_cents`,
        `orders`.`status`,
        `orders`.`payment_due_at`,
        `orders`.`created_at`,
        `orders`.`request_id`,
        `orders`.`buyer_id`,
        `orders`.`settled_at`,
        `orders`.`payment_id`,
        SYSDATE(6)
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE (
        ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'pending'))
        AND (
            (((`orders`.`payment_due_at` = ?) AND (`orders`.`id` < ?)) OR (`orders`.`payment_due_at` < ?))
            OR (`orders`.`payment_due_at` IS NULL)
        )
    )
    ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `orders`.`id`,
        `orders`.`hold_id`,
        `orders`.`product_id`,
        `orders`.`qty`,
        `orders`.`amount_cents`,
        `orders`.`status`,
        `orders`.`payment_due_at`,
        `orders`.`created_at`,
        `orders`.`request_id`,
        `orders`.`buyer_id`,
        `orders`.`settled_at`,
        `orders`.`payment_id`,
        SYSDATE(6)
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE (
        ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'paid'))
        AND (
            (((`orders`.`payment_due_at` = ?) AND (`orders`.`id` < ?)) OR (`orders`.`payment_due_at` < ?))
            OR (`orders`.`payment_due_at` IS NULL)
        )
    )
    ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `orders`.`id`,
        `orders`.`hold_id`,
        `orders`.`product_id`,
        `orders`.`qty`,
        `orders`.`amount_cents`,
        `orders`.`status`,
        `orders`.`payment_due_at`,
        `orders`.`created_at`,
        `orders`.`request_id`,
        `orders`.`buyer_id`,
        `orders`.`settled_at`,
        `orders`.`payment_id`,
        SYSDATE(6)
    FROM `orders` FORCE INDEX (orders_product_due)
    WHERE (
        ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'cancelled'))
        AND (
            (((`orders`.`payment_due_at` = ?) AND (`orders`.`id` < ?)) OR (`orders`.`payment_due_at` < ?))
            OR (`orders`.`payment_due_at` IS NULL)
        )
    )
    ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
    LIMIT 2
);
-- orders by orders_product_due

-- # Those in one state

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`product_id`,
    `orders`.`qty`,
    `orders`.`amount_cents`,
    `orders`.`status`,
    `orders`.`payment_due_at`,
    `orders`.`created_at`,
    `orders`.`request_id`,
    `orders`.`buyer_id`,
    `orders`.`settled_at`,
    `orders`.`payment_id`,
    SYSDATE(6)
FROM `orders` FORCE INDEX (orders_product_due)
WHERE ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'paid'))
ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
LIMIT 2;
-- orders by orders_product_due

-- # Those that are overdue

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`product_id`,
    `orders`.`qty`,
    `orders`.`amount_cents`,
    `orders`.`status`,
    `orders`.`payment_due_at`,
    `orders`.`created_at`,
    `orders`.`request_id`,
    `orders`.`buyer_id`,
    `orders`.`settled_at`,
    `orders`.`payment_id`,
    SYSDATE(6)
FROM `orders` FORCE INDEX (orders_product_due)
WHERE (
    ((`orders`.`product_id` = 1) AND (`orders`.`status` = 'pending'))
    AND (`orders`.`payment_due_at` < UTC_TIMESTAMP(6))
)
ORDER BY `orders`.`payment_due_at` DESC, `orders`.`id` DESC
LIMIT 2;
-- orders by orders_product_due

-- # Those of a buyer

SELECT
    `orders`.`id`,
    `orders`.`hold_id`,
    `orders`.`product_id`,
    `orders`.`qty`,
    `orders`.`amount_cents`,
    `orders`.`status`,
    `orders`.`payment_due_at`,
    `orders`.`created_at`,
    `orders`.`request_id`,
    `orders`.`buyer_id`,
    `orders`.`settled_at`,
    `orders`.`payment_id`,
    SYSDATE(6)
FROM `orders` FORCE INDEX (orders_buyer)
WHERE (((`orders`.`product_id` = 1) AND (`orders`.`buyer_id` = ?)) AND (`orders`.`id` < ?))
ORDER BY `orders`.`id` DESC
LIMIT 2;
-- orders by orders_buyer

-- # Those settled after a time

SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;

SELECT `orders`.`id`, `orders`.`settled_at`
FROM `orders` FORCE INDEX (orders_settled)
WHERE (
    (
        (`orders`.`product_id` = 1)
        AND ((`orders`.`settled_at` > ?) OR ((`orders`.`settled_at` = ?) AND (`orders`.`id` > ?)))
    )
    AND (`orders`.`settled_at` < UTC_TIMESTAMP(6) - INTERVAL 1 SECOND)
)
ORDER BY `orders`.`settled_at`, `orders`.`id`
LIMIT 2;
-- orders by orders_settled, index only

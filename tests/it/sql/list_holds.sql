-- # All of a product

(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'active'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'used'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'expired'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'cancelled'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
);
-- holds by holds_product_expiry

-- # The next page

(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'active'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'used'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'expired'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'cancelled'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
);
-- holds by holds_product_expiry

-- # Those in one state

(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_product_expiry)
    WHERE (
        ((`holds`.`product_id` = 1) AND (`holds`.`status` = 'used'))
        AND ((`holds`.`expires_at` < ?) OR ((`holds`.`expires_at` = ?) AND (`holds`.`id` < ?)))
    )
    ORDER BY `holds`.`expires_at` DESC, `holds`.`id` DESC
    LIMIT 2
);
-- holds by holds_product_expiry

-- # Those of a buyer

(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_buyer)
    WHERE (
        (((`holds`.`product_id` = 1) AND (`holds`.`buyer_id` = ?)) AND (`holds`.`status` = 'active'))
        AND (`holds`.`id` < ?)
    )
    ORDER BY `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_buyer)
    WHERE (
        (((`holds`.`product_id` = 1) AND (`holds`.`buyer_id` = ?)) AND (`holds`.`status` = 'used'))
        AND (`holds`.`id` < ?)
    )
    ORDER BY `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_buyer)
    WHERE (
        (((`holds`.`product_id` = 1) AND (`holds`.`buyer_id` = ?)) AND (`holds`.`status` = 'expired'))
        AND (`holds`.`id` < ?)
    )
    ORDER BY `holds`.`id` DESC
    LIMIT 2
)
UNION ALL
(
    SELECT
        `holds`.`id`,
        `holds`.`product_id`,
        `holds`.`qty`,
        `holds`.`unit_price_cents`,
        `holds`.`status`,
        `holds`.`expires_at`,
        `holds`.`created_at`,
        `holds`.`buyer_id`,
        `holds`.`request_id`,
        SYSDATE(6)
    FROM `holds` FORCE INDEX (holds_buyer)
    WHERE (
        (((`holds`.`product_id` = 1) AND (`holds`.`buyer_id` = ?)) AND (`holds`.`status` = 'cancelled'))
        AND (`holds`.`id` < ?)
    )
    ORDER BY `holds`.`id` DESC
    LIMIT 2
);
-- holds by holds_buyer

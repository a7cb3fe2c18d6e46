-- Whose an order is, when and by what it was settled, and by which payment.
--
-- settled_at sets itself where a server of the version before settles an order. That server leaves settled_by empty. A
-- change by hand sets it too, also of a pending order, where it means nothing.
-- Those who ship read by orders_settled, and the support desk reads by orders_buyer.
--
-- MySQL has no ADD COLUMN IF NOT EXISTS, and a migration that was cut off runs again.
SET @ddl = IF(
    (SELECT COUNT(*) FROM information_schema.columns
      WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'settled_at') = 0,
    'ALTER TABLE orders
        ADD COLUMN buyer_id VARBINARY(255) NULL,
        ADD COLUMN settled_at DATETIME(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6),
        ADD COLUMN settled_by ENUM (''payment'', ''acceptance'', ''no_charge'', ''failure'', ''caller'', ''overdue'') NULL,
        ADD COLUMN payment_id VARBINARY(255) NULL',
    'DO 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
SET @ddl = IF(
    (SELECT COUNT(*) FROM information_schema.statistics
      WHERE table_schema = DATABASE() AND table_name = 'orders' AND index_name = 'orders_settled') = 0,
    'ALTER TABLE orders
        ADD INDEX orders_settled (product_id, settled_at),
        ADD INDEX orders_buyer (product_id, buyer_id), ALGORITHM = INPLACE, LOCK = NONE',
    'DO 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

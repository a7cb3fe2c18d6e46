-- The provider's id of the payment that an event is about, and failed attempts, which leave an order pending. accepted
-- says that an operator took a payment of another amount as payment of its order.
--
-- New words of an ENUM go behind the old ones: so no row changes.
ALTER TABLE payment_webhooks
    MODIFY COLUMN status ENUM ('success', 'failure', 'attempt_failed') NOT NULL,
    MODIFY COLUMN result ENUM ('applied', 'unchanged', 'late_success', 'duplicate_success', 'amount_mismatch',
        'attempt_failed') NOT NULL;
SET @ddl = IF(
    (SELECT COUNT(*) FROM information_schema.columns
      WHERE table_schema = DATABASE() AND table_name = 'payment_webhooks' AND column_name = 'payment_id') = 0,
    'ALTER TABLE payment_webhooks ADD COLUMN payment_id VARBINARY(255) NULL',
    'DO 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
SET @ddl = IF(
    (SELECT COUNT(*) FROM information_schema.columns
      WHERE table_schema = DATABASE() AND table_name = 'payment_exceptions' AND column_name = 'accepted') = 0,
    'ALTER TABLE payment_exceptions ADD COLUMN accepted BOOLEAN NOT NULL DEFAULT FALSE',
    'DO 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

ALTER TABLE payment_exceptions DROP COLUMN accepted;
ALTER TABLE payment_webhooks DROP COLUMN payment_id,
    MODIFY COLUMN status ENUM ('success', 'failure') NOT NULL,
    MODIFY COLUMN result ENUM ('applied', 'unchanged', 'late_success', 'duplicate_success', 'amount_mismatch') NOT NULL;

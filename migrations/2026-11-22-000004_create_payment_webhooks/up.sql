-- Every payment event that was taken, with its answer. A repeated delivery is answered with order_status and result.
-- The key is bytes. A collation would take KEY, key, and key with a space for the same key, and drop payments as
-- duplicates.
CREATE TABLE IF NOT EXISTS payment_webhooks (
    id BIGINT NOT NULL AUTO_INCREMENT,
    idempotency_key VARBINARY(255) NOT NULL,
    order_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    status ENUM ('success', 'failure') NOT NULL,
    amount_cents BIGINT NULL,
    order_status ENUM ('pending', 'paid', 'cancelled') NOT NULL,
    result ENUM ('applied', 'unchanged', 'late_success', 'duplicate_success', 'amount_mismatch') NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY payment_webhooks_key (idempotency_key),
    KEY payment_webhooks_order (order_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

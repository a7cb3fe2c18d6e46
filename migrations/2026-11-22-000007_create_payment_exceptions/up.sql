-- Money that needs a person: a success that came after the cancellation, came twice, or paid another amount. The
-- transaction that answers the webhook writes the row. So there is exactly one row for each answer with
-- refund_required.
--
-- A listing goes by descending id. It shows all rows or only the unresolved rows (resolved_at IS NULL), of all products
-- or of one product. Each of these four listings reads its page from one index, however many rows are resolved.
CREATE TABLE IF NOT EXISTS payment_exceptions (
    id BIGINT NOT NULL AUTO_INCREMENT,
    kind ENUM ('late_success', 'duplicate_success', 'amount_mismatch') NOT NULL,
    order_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    idempotency_key VARBINARY(255) NOT NULL,
    amount_cents BIGINT NULL,
    created_at DATETIME(6) NOT NULL,
    resolved_at DATETIME(6) NULL,
    note VARCHAR(1000) NULL,
    PRIMARY KEY (id),
    UNIQUE KEY payment_exceptions_key (idempotency_key),
    KEY payment_exceptions_open (resolved_at, id),
    KEY payment_exceptions_product (product_id, id),
    KEY payment_exceptions_product_open (product_id, resolved_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

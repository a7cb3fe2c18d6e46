-- Holds that somebody is going to pay for. The unique key on hold_id is the last guard of "one order per hold, ever".
--
-- The sweep finds overdue orders by orders_due. orders_product_due does the same for one product, when CreateHold is
-- short of stock and itself cancels the overdue orders of that product. Without these indexes a sweep would lock every
-- row.
CREATE TABLE IF NOT EXISTS orders (
    id BIGINT NOT NULL AUTO_INCREMENT,
    hold_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    qty INT NOT NULL,
    amount_cents BIGINT NOT NULL,
    status ENUM ('pending', 'paid', 'cancelled') NOT NULL DEFAULT 'pending',
    payment_due_at DATETIME(6) NULL,
    created_at DATETIME(6) NOT NULL,
    request_id VARBINARY(64) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY orders_hold (hold_id),
    KEY orders_due (status, payment_due_at),
    KEY orders_product_due (product_id, status, payment_due_at),
    CONSTRAINT orders_qty CHECK (qty >= 1)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

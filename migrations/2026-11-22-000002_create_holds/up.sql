-- Units set aside. Texts that are compared are bytes. A collation would take A for a, or a for a with a space.
--
-- The indexes decide what a sweep locks. Without holds_expiry the first sweep locks every row, and a second sweep finds
-- none. holds_product_expiry does the same for one product, when CreateHold itself takes back the expired holds of that
-- product. The limit for one buyer is counted by holds_buyer.
CREATE TABLE IF NOT EXISTS holds (
    id BIGINT NOT NULL AUTO_INCREMENT,
    product_id BIGINT NOT NULL,
    qty INT NOT NULL,
    unit_price_cents BIGINT NOT NULL,
    status ENUM ('active', 'used', 'expired', 'cancelled') NOT NULL DEFAULT 'active',
    expires_at DATETIME(6) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    request_id VARBINARY(64) NOT NULL,
    buyer_id VARBINARY(64) NULL,
    PRIMARY KEY (id),
    UNIQUE KEY holds_request (product_id, request_id),
    KEY holds_expiry (status, expires_at),
    KEY holds_product_expiry (product_id, status, expires_at),
    KEY holds_buyer (product_id, buyer_id),
    CONSTRAINT holds_qty CHECK (qty >= 1)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

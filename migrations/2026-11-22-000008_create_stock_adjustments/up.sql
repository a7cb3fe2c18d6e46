-- Every change of a product's total by an operator, and why. total_stock and available_stock are the product's stock
-- just after the change. A repeat of the request is answered with them, and the books are checked against them.
CREATE TABLE IF NOT EXISTS stock_adjustments (
    id BIGINT NOT NULL AUTO_INCREMENT,
    product_id BIGINT NOT NULL,
    delta BIGINT NOT NULL,
    reason VARCHAR(1000) NOT NULL,
    request_id VARBINARY(64) NOT NULL,
    total_stock BIGINT NOT NULL,
    available_stock BIGINT NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY stock_adjustments_request (product_id, request_id),
    CONSTRAINT stock_adjustments_delta CHECK (delta <> 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

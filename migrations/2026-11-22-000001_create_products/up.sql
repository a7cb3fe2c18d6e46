-- What is on sale, and how much of it is left. available_stock is the counter that every buyer of a hot sale changes.
--
-- The CHECKs are the last guard. The transactions never let a number get there, so a CHECK that fires is an alarm.
-- request_id and request_digest make CreateProduct repeatable. The digest is the SHA-256 of the request, because the
-- columns themselves change later.
--
-- There are no foreign keys between the tables. Inserting a child would lock its parent (shared), and two transactions
-- that then both want to change the parent would deadlock. Group replication and Vitess also refuse foreign keys or
-- make them costly.
CREATE TABLE IF NOT EXISTS products (
    id BIGINT NOT NULL AUTO_INCREMENT,
    name VARCHAR(255) NOT NULL,
    price_cents BIGINT NOT NULL,
    total_stock BIGINT NOT NULL,
    available_stock BIGINT NOT NULL,
    max_per_buyer INT NULL,
    starts_at DATETIME(6) NULL,
    ends_at DATETIME(6) NULL,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    request_id VARBINARY(64) NOT NULL,
    request_digest BINARY(32) NOT NULL,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY products_request (request_id),
    CONSTRAINT products_available_stock CHECK (available_stock BETWEEN 0 AND total_stock),
    CONSTRAINT products_price_cents CHECK (price_cents >= 0),
    CONSTRAINT products_max_per_buyer CHECK (max_per_buyer >= 1)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

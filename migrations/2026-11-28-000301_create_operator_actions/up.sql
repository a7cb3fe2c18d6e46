-- What operators changed: written by the transaction that makes the change, so that there is none without the other.
--
-- changes is JSON: a list of objects with field, before and after, which are texts; a value that there was not is null.
CREATE TABLE IF NOT EXISTS operator_actions (
    id BIGINT NOT NULL AUTO_INCREMENT,
    created_at DATETIME(6) NOT NULL,
    principal VARCHAR(255) NOT NULL,
    method VARCHAR(100) NOT NULL,
    request_id VARBINARY(255) NULL,
    product_id BIGINT NULL,
    changes TEXT NOT NULL,
    PRIMARY KEY (id),
    KEY operator_actions_product (product_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

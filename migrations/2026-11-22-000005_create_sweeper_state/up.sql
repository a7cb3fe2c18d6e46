-- Totals of all sweeps, in one row. A sweep is a short process, so the servers export what all sweeps did.
CREATE TABLE IF NOT EXISTS sweeper_state (
    id TINYINT NOT NULL,
    runs BIGINT NOT NULL DEFAULT 0,
    holds_expired BIGINT NOT NULL DEFAULT 0,
    orders_cancelled BIGINT NOT NULL DEFAULT 0,
    stock_released BIGINT NOT NULL DEFAULT 0,
    last_run_at DATETIME(6) NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

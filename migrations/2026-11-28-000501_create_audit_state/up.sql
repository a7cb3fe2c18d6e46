-- How the last audit ended, in one row. An audit is a short process, so the servers show it in their metrics.
--
-- last_success_at is when an audit last read all tables and found nothing. findings is how many the last audit had.
CREATE TABLE IF NOT EXISTS audit_state (
    id TINYINT NOT NULL,
    last_success_at DATETIME(6) NULL,
    findings BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

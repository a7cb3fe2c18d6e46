-- A server's sign of life, about one a second. A write that commits shows that the database takes writes.
--
-- Every server writes one of a few rows, which it picks at random when it starts. So the table never grows. Servers
-- that share a row wait for each other only for a moment.
CREATE TABLE IF NOT EXISTS server_heartbeats (
    slot TINYINT UNSIGNED NOT NULL,
    beats BIGINT UNSIGNED NOT NULL,
    last_beat_at DATETIME(6) NOT NULL,
    PRIMARY KEY (slot)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- A server's sign of life, about one a second: a write that commits is what tells that the database takes writes.
--
-- Every server writes one of a few rows, which it picks by chance when it starts: the table never grows, and servers
-- that share a row wait for each other for a moment only.
CREATE TABLE IF NOT EXISTS server_heartbeats (
    slot TINYINT UNSIGNED NOT NULL,
    beats BIGINT UNSIGNED NOT NULL,
    last_beat_at DATETIME(6) NOT NULL,
    PRIMARY KEY (slot)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

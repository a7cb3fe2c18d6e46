-- progress_at is when a sweep last showed that it works, by the database's clock. latest_at is the latest time that
-- this clock has ever shown to a sweep. After the clock has gone back, latest_at is in the future, and so the audit
-- knows what happened.
--
-- A migration that was cut off runs again. MySQL has no ADD COLUMN IF NOT EXISTS, so the migration looks the columns up
-- first.
SET @ddl = IF(
    (SELECT COUNT(*) FROM information_schema.columns
      WHERE table_schema = DATABASE() AND table_name = 'sweeper_state' AND column_name = 'progress_at') = 0,
    'ALTER TABLE sweeper_state
        ADD COLUMN progress_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        ADD COLUMN latest_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)',
    'DO 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

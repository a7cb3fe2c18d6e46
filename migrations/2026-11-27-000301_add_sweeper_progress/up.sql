-- When a sweep last showed that it works, by the database's clock of that moment; and the latest moment that this clock
-- has ever shown to a sweep. A clock that goes back leaves latest_at in the future, which tells the audit so.
--
-- MySQL has no ADD COLUMN IF NOT EXISTS, and a migration that was cut off runs again.
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

ALTER TABLE sweeper_state DROP COLUMN progress_at, DROP COLUMN latest_at;

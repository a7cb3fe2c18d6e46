-- What a buyer has is counted from this index alone. The status is in it, so that holds that are over are not read. The
-- id comes next, so that the count can begin after a certain hold. Then come the units to add up, and when the hold
-- ends.
--
-- The index keeps its name and its first columns, because servers of the version before use it as well. Both engines
-- build it while holds are made. Neither engine has IF NOT EXISTS here, so the migration looks the index up first.
SET @ddl = IF(
    (SELECT COUNT(*) FROM information_schema.statistics
      WHERE table_schema = DATABASE() AND table_name = 'holds' AND index_name = 'holds_buyer'
        AND column_name = 'expires_at') = 0,
    'ALTER TABLE holds DROP INDEX holds_buyer,
        ADD INDEX holds_buyer (product_id, buyer_id, status, id, qty, expires_at), ALGORITHM = INPLACE, LOCK = NONE',
    'DO 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

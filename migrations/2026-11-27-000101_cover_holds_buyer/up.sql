-- What a buyer has is counted by this index alone: with the status in it, so that what is over is not read, then the id,
-- so that the count can begin behind a hold, then what is added up and when it ends.
--
-- It keeps its name and begins as before: servers of the version before go by it as well. Both engines build it while
-- holds are made. Neither can say IF NOT EXISTS here, so it is looked up.
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

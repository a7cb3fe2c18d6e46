ALTER TABLE holds DROP INDEX holds_buyer, ADD INDEX holds_buyer (product_id, buyer_id);

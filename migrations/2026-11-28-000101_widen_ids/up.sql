-- Ids of callers have up to 255 bytes: e-mail addresses, or a word and two UUIDs. They stay bytes, compared byte for byte.
--
-- The length of up to 255 bytes takes one byte of each row, as before. So both engines change the tables at once, without
-- a copy and without a pause, and a migration that was cut off may run again.
ALTER TABLE products MODIFY COLUMN request_id VARBINARY(255) NOT NULL;
ALTER TABLE holds MODIFY COLUMN request_id VARBINARY(255) NOT NULL, MODIFY COLUMN buyer_id VARBINARY(255) NULL;
ALTER TABLE orders MODIFY COLUMN request_id VARBINARY(255) NOT NULL;
ALTER TABLE stock_adjustments MODIFY COLUMN request_id VARBINARY(255) NOT NULL;

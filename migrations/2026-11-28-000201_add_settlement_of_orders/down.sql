ALTER TABLE orders DROP INDEX orders_settled, DROP INDEX orders_buyer, DROP COLUMN buyer_id, DROP COLUMN settled_at,
    DROP COLUMN settled_by, DROP COLUMN payment_id;

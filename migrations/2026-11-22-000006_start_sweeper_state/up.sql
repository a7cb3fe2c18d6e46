-- The one row. IGNORE: a migration that was cut off after its statement runs again.
INSERT IGNORE INTO sweeper_state (id) VALUES (1);

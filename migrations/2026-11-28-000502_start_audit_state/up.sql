-- Makes the one row. IGNORE is there because a migration that was cut off after its statement runs again.
INSERT IGNORE INTO audit_state (id) VALUES (1);

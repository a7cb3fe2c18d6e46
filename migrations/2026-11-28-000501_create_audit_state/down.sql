DROP TABLE audit_state;

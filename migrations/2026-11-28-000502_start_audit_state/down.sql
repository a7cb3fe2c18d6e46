DELETE FROM audit_state;

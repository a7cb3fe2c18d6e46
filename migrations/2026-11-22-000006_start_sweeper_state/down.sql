DELETE FROM sweeper_state;

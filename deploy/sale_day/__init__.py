"""The parts of deploy/sale_day.py: arguments and exit codes (main), commands, the screen of a sale (watch), what a
person or a script reads (show), the calls (api), and the connection with its credentials (connection)."""

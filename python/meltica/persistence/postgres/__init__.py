"""The embedded PostgreSQL server: its programs, home, account, launch and supervision."""

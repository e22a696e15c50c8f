"""The embedded PostgreSQL server: binaries, home directory, user account, launch and supervision."""

"""Persistent state: the embedded server, the database, its migrations and its stores.

- `postgres` runs an embedded PostgreSQL when no database is configured.
- `database` is the connection pool.
- `migrate` applies the migrations of the schema.
- `lock` ensures that only one gateway uses a database.
- `backup` writes and restores dumps.
- `stores` holds one write-through store per aggregate.
"""

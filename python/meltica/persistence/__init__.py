"""What outlives the process: the embedded server, the database, its migrations and its stores.

`embedded` runs a PostgreSQL where none is configured, `database` is the pool, `migrate` brings the schema up,
`lock` keeps a second gateway out, `backup` dumps and restores; `providers` and `instances` are the stores.
"""

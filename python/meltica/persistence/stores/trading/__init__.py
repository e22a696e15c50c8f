"""What trading persists: rows, the group-commit writer, loaders, queries, halts and retention.

- `rows` has one struct per table; its fields are the columns that trading writes.
- `writer` commits everything that waited since its last commit in one transaction.
- `loaders` reads what a gateway restores at its start.
- `queries` reads the history of orders, fills and balances for the API.
- `halts` has the operator's halts, which work without a gateway, too.
- `retention` deletes what is older than it is kept.
"""

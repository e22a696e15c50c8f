"""One write-through store per aggregate: rows are cached in memory."""

"""One store per aggregate: rows kept in memory and written through."""

"""OKX: market data."""

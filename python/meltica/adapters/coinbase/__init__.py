"""Coinbase: market data."""

"""Kraken: market data."""

"""Bybit: market data."""

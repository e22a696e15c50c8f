"""Orders, positions and balances of instances: pure models without I/O and without a clock.

The caller passes the time and holds the lock. Arithmetic uses `meltica.trading.exact`, because the decimal
context of a thread belongs to the strategy that runs on it.
"""

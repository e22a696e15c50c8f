"""Names with a fixed set of values. Imports nothing heavy: the compiled core loads it."""

from enum import StrEnum


class Side(StrEnum):
    """Which side of the market an order, or a trade's taker, is on."""

    BUY = "Buy"
    SELL = "Sell"


class EventKind(StrEnum):
    """The kinds of events an instance can subscribe to."""

    BOOK_SNAPSHOT = "BookSnapshot"
    TRADE = "Trade"
    TICKER = "Ticker"
    EXEC_REPORT = "ExecReport"
    KLINE_SUMMARY = "KlineSummary"
    INSTRUMENT_UPDATE = "InstrumentUpdate"
    BALANCE_UPDATE = "BalanceUpdate"
    RISK_CONTROL = "RiskControl"
    EXTENSION = "Extension"


class Policy(StrEnum):
    """What a full queue does with one more event of a kind."""

    CONFLATE = "conflate"
    """The latest event of each symbol replaces the one that waits."""
    DROP_OLDEST = "drop_oldest"
    """The oldest waiting event goes."""
    BLOCK = "block"
    """The producer waits: for replay and tests."""


PRIVATE_KINDS = frozenset({EventKind.EXEC_REPORT, EventKind.BALANCE_UPDATE, EventKind.RISK_CONTROL})
"""Kinds that are never dropped, so no policy applies to them."""

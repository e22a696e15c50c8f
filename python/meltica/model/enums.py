"""Names with a fixed set of values. Imports nothing heavy: the compiled core loads it."""

from enum import StrEnum


class Side(StrEnum):
    """Which side of the market an order, or a trade's taker, is on."""

    BUY = "Buy"
    SELL = "Sell"


class EventKind(StrEnum):
    """The kinds of events. A `Lambda` can subscribe to all of them but `ExecReport`."""

    BOOK_SNAPSHOT = "BookSnapshot"
    TRADE = "Trade"
    TICKER = "Ticker"
    EXEC_REPORT = "ExecReport"
    KLINE_SUMMARY = "KlineSummary"
    INSTRUMENT_UPDATE = "InstrumentUpdate"
    BALANCE_UPDATE = "BalanceUpdate"
    RISK_CONTROL = "RiskControl"
    EXTENSION = "Extension"


class OrderType(StrEnum):
    """How an order is priced."""

    LIMIT = "Limit"
    """Trades at its price or better; what does not trade at once rests in the book."""
    MARKET = "Market"
    """Has no price: trades with the best orders in the book at once."""


class TimeInForce(StrEnum):
    """How long an order stays active."""

    GTC = "GTC"
    """Good till cancelled: what is not filled rests in the book."""
    IOC = "IOC"
    """Immediate or cancel: fills what it can at once, the rest expires."""
    FOK = "FOK"
    """Fill or kill: fills as a whole at once or not at all."""


class OrderState(StrEnum):
    """How far an order has come."""

    PENDING = "PENDING"
    """The venue has not acknowledged the order yet."""
    ACK = "ACK"
    """The venue has the order, and nothing is filled yet."""
    PARTIAL = "PARTIAL"
    """A part of the order is filled, the rest is open."""
    FILLED = "FILLED"
    """The whole order is filled."""
    CANCELLED = "CANCELLED"
    """The order was cancelled; a part may be filled."""
    REJECTED = "REJECTED"
    """The venue refused the order."""
    EXPIRED = "EXPIRED"
    """The venue ended the order; a part may be filled."""
    UNKNOWN = "UNKNOWN"
    """The state at the venue cannot be determined, for example because the venue no longer knows the order.
    """

    @property
    def is_final(self) -> bool:
        """Whether the order has ended."""
        return self in _FINAL_STATES


_FINAL_STATES = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED})

VENUE_STATES = frozenset(OrderState) - {OrderState.PENDING, OrderState.UNKNOWN}
"""The states that a venue can report."""


class Mode(StrEnum):
    """Where the orders of an instance are filled. Each mode has positions, balances and limits of its own."""

    LIVE = "live"
    """At the venue."""
    PAPER = "paper"
    """On a paper account, against the live market."""


class Liquidity(StrEnum):
    """Whether an order added liquidity to the book in a fill, or removed it."""

    MAKER = "maker"
    """The order rested in the book."""
    TAKER = "taker"
    """The order arrived and traded with a resting one."""


class FillRule(StrEnum):
    """Why a paper order was filled."""

    TAKER = "taker"
    """The order traded with the quantity that the opposite side showed."""
    QUEUE = "queue"
    """Trades at its price consumed all that queued before it, and went on."""
    TRADED_THROUGH = "traded_through"
    """The market traded, or offered, at a price beyond the order's."""


class OverflowPolicy(StrEnum):
    """How a full queue handles one more event of a kind."""

    CONFLATE = "conflate"
    """Keep the latest event of each symbol: a new event replaces the waiting one."""
    DROP_OLDEST = "drop_oldest"
    """Drop the oldest waiting event."""
    BLOCK = "block"
    """Make the producer wait for space: for replay and tests."""


PRIVATE_KINDS = frozenset({EventKind.EXEC_REPORT, EventKind.BALANCE_UPDATE, EventKind.RISK_CONTROL})
"""Kinds that are never dropped, so no policy applies to them."""

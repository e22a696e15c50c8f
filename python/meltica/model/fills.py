"""Fills of an account's orders, and matches of the simulator's engine."""

from decimal import Decimal
from typing import NamedTuple

from meltica.model.enums import Liquidity, Side


class Fill(NamedTuple):
    """One fill of an account's order."""

    execution_id: str
    """The venue's id of the fill; unique together with the order."""
    time: int
    """The venue's time, in nanoseconds."""
    symbol: str
    client_order_id: str
    """Empty for an order of another client that has none."""
    venue_order_id: str
    side: Side
    """The side of the account's order."""
    price: Decimal
    quantity: Decimal
    fee: Decimal
    """Negative for a rebate."""
    fee_currency: str
    liquidity: Liquidity | None = None
    """None where the venue does not say."""
    trade_id: str | None = None
    """The venue's id of the public trade that this fill is a side of."""
    rule: str | None = None
    """Why a paper order was filled: `taker`, `queue` or `traded_through`; None for the fills of a venue."""


class FillMark(NamedTuple):
    """A place in the venue's list of a symbol's fills, from which to read on. The place itself is included.

    A mark is correct at every venue: one that can read on from an execution id uses the id where the mark has
    it, and any other venue uses the time.
    """

    time: int
    """The venue's time, in nanoseconds; that of the fill, where the mark is a fill."""
    execution_id: str | None = None
    """The fill, where the mark is one; None for a time only."""

    @classmethod
    def at(cls, fill: Fill) -> "FillMark":
        """Returns the mark of a fill."""
        return cls(fill.time, fill.execution_id)


START = FillMark(0)
"""Before every fill."""


class EngineTrade(NamedTuple):
    """One trade of the matching engine, at the maker's price: the order that rested, and the order that
    arrived.
    """

    maker_order_id: str | int
    taker_order_id: str | int
    price: Decimal
    quantity: Decimal
    trade_id: int
    """Counts the engine's trades from 1."""
    taker_side: Side
    maker_account: str | None
    taker_account: str | None
    maker_fee: Decimal
    maker_fee_currency: str
    taker_fee: Decimal
    taker_fee_currency: str

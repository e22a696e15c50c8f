"""What the matching engine gives back. All numbers are exact decimals."""

from decimal import Decimal
from typing import NamedTuple

from meltica.model.enums import Side


class Fill(NamedTuple):
    """One trade: the order that rested, the one that arrived, and the maker's price."""

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


class AccountFill(NamedTuple):
    """A fill of an account's order on a simulated venue."""

    number: int
    """Counts the venue's fills from 1."""
    time: int
    """Virtual time, ns."""
    symbol: str
    client_order_id: str
    venue_order_id: str
    trade_id: int
    """Counts the symbol's trades from 1."""
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    """Whether the order rested."""


class BookLevel(NamedTuple):
    """A price, what the orders there still want, and how many they are."""

    price: Decimal
    quantity: Decimal
    orders: int


class OrderBook(NamedTuple):
    """The top of the book, best level first on either side."""

    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    update_id: int
    """Of the last change of a level; each change has the next."""

    @property
    def best_bid(self) -> BookLevel | None:
        """The highest bid."""
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> BookLevel | None:
        """The lowest ask."""
        return self.asks[0] if self.asks else None


class Balance(NamedTuple):
    """What an account owns of a currency, and how much of it open orders hold."""

    total: Decimal
    reserved: Decimal

    @property
    def available(self) -> Decimal:
        """What is free for new orders."""
        return self.total - self.reserved

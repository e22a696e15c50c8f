"""The simulator's order book, with the number of orders at each price."""

from decimal import Decimal
from typing import NamedTuple


class BookLevel(NamedTuple):
    """One price of the book: the open quantity there, and the number of orders."""

    price: Decimal
    quantity: Decimal
    orders: int


class OrderBook(NamedTuple):
    """The top of the book, best level first on either side."""

    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    update_id: int
    """Number of the last change of a level; each change has the next number."""

    @property
    def best_bid(self) -> BookLevel | None:
        """The highest bid."""
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> BookLevel | None:
        """The lowest ask."""
        return self.asks[0] if self.asks else None

"""`Stage`: a venue that the tests control."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import ClassVar, NamedTuple, NoReturn, Self

import pytest

from meltica.adapters.base import Adapter

Level = tuple[Decimal, Decimal]


class Book(NamedTuple):
    """A venue's own book: price and quantity of each level, best first."""

    update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Stage(ABC):
    """A venue that a test can control, and the adapter for it.

    The tests that need a method which a stage does not override are skipped.
    """

    symbols: ClassVar[tuple[str, ...]]
    """At least two symbols, with trades and book changes about every second."""
    kinds: ClassVar[tuple[str, ...]] = ("Trade", "Ticker", "BookSnapshot")
    """The public kinds of events that the adapter sends."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027
        """Stops the venue."""

    @abstractmethod
    def adapter(self, **settings: object) -> Adapter:
        """Returns a new adapter for this venue; `settings` of a test override those of the stage."""

    def book(self, symbol: str) -> Book:
        """Returns the venue's current book, with at least 25 levels per side."""
        self.cannot("show its book")

    def lose_depth(self, symbol: str) -> None:
        """Loses the next change of a symbol's book."""
        self.cannot("lose changes of a book")

    def disconnect(self, seconds: float) -> None:
        """Closes all connections, and refuses new ones for some seconds."""
        self.cannot("disconnect")

    def subscriptions(self) -> set[tuple[str, str]]:
        """Returns the (kind, symbol) pairs that the adapter is subscribed to."""
        self.cannot("list subscriptions")

    def behave(self, **faults: float) -> None:
        """Sets some of `venue_behavior`, times in seconds."""
        self.cannot("simulate faults")

    def skew(self, seconds: float) -> None:
        """Sets the venue's clock ahead of the local clock."""
        self.cannot("shift its clock")

    def limit(self, requests: int) -> None:
        """Makes the venue refuse more requests per second."""
        self.cannot("limit requests")

    def wrong_credentials(self) -> Mapping[str, object]:
        """Returns settings with credentials that the venue refuses."""
        self.cannot("check credentials")

    def order_size(self, symbol: str) -> Decimal:
        """Returns a quantity that can be ordered and filled."""
        self.cannot("trade")

    def cannot(self, what: str) -> NoReturn:
        """Skips the test."""
        pytest.skip(f"{type(self).__name__} cannot {what}")

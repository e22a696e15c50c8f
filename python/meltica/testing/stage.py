"""`Stage`: a venue under a test's control."""

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
    """A venue that a test can drive, and the adapter for it.

    What a stage cannot do it leaves as it is here: the cards that need it are skipped.
    """

    symbols: ClassVar[tuple[str, ...]]
    """What is traded on it, two at least, with trades and changes of the book every second or so."""
    kinds: ClassVar[tuple[str, ...]] = ("Trade", "Ticker", "BookSnapshot")
    """The public kinds of events that its adapter sends by itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027
        """Ends the venue."""

    @abstractmethod
    def adapter(self, **settings: object) -> Adapter:
        """Returns a new adapter for this venue; `settings` are those of a card, on top of the stage's."""

    def book(self, symbol: str) -> Book:
        """Returns the venue's own book as it is now, at least 25 levels a side."""
        self.cannot("show its book")

    def lose_depth(self, symbol: str) -> None:
        """Has the venue's next change of a symbol's book get lost on the way."""
        self.cannot("lose changes of a book")

    def disconnect(self, seconds: float) -> None:
        """Cuts every connection, and stays away for so long."""
        self.cannot("disconnect")

    def subscriptions(self) -> set[tuple[str, str]]:
        """Returns (kind, symbol) of what the adapter has the venue send now."""
        self.cannot("tell what is subscribed")

    def behave(self, **faults: float) -> None:
        """Sets some of `venue_behavior`, times in seconds."""
        self.cannot("misbehave")

    def skew(self, seconds: float) -> None:
        """Has the venue's clock go so much ahead of ours."""
        self.cannot("have a clock of its own")

    def limit(self, requests: int) -> None:
        """Has the venue refuse more than so many requests a second."""
        self.cannot("limit requests")

    def strangers(self) -> Mapping[str, object]:
        """Returns settings with credentials that the venue does not accept."""
        self.cannot("tell keys apart")

    def order_size(self, symbol: str) -> Decimal:
        """Returns a quantity that may be ordered and that the book can fill."""
        self.cannot("trade")

    def cannot(self, what: str) -> NoReturn:
        """Skips the card."""
        pytest.skip(f"{type(self).__name__} cannot {what}")

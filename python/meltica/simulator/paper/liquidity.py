"""The quantity that a live book still offers, after what paper orders took from it.

A real taker would have removed what it took. The live book still shows that quantity, so each level remembers
how much was taken, and offers the rest:

1. More becomes available only as the level's shown quantity rises, by as much as it rises.
2. A level that is no longer shown has ended, with what was taken from it.
3. A level beyond the last shown one may still exist, so what was taken from it is kept.
4. After the book was stale, nothing is taken.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from meltica.model.enums import Side

Levels = Sequence[tuple[Decimal, Decimal]]
"""Price and quantity, best level first."""

_NONE = Decimal(0)


class _BookSide:
    """One side of the book; `sign` makes better prices smaller numbers."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self.levels: Levels = ()
        self.complete = True
        self._taken: dict[Decimal, Decimal] = {}
        """Price -> the part of the shown quantity that was taken."""

    def update(self, levels: Levels, *, complete: bool) -> None:
        self.levels, self.complete = levels, complete
        for price, taken in list(self._taken.items()):
            if self.is_visible(price):
                # 1: what is still shown was taken first.
                left = min(taken, self.shown(price))
                if left > 0:
                    self._taken[price] = left
                else:
                    del self._taken[price]

    def clear(self) -> None:
        self.levels, self.complete = (), True
        self._taken.clear()

    def is_better(self, price: Decimal, other: Decimal) -> bool:
        """Returns whether a taker prefers a price of this side to another one."""
        return self._sign * price < self._sign * other

    def is_visible(self, price: Decimal) -> bool:
        """Returns whether the quantity at a price is known; it is 0 where no level is shown."""
        return self.complete or (bool(self.levels) and not self.is_better(self.levels[-1][0], price))

    def shown(self, price: Decimal) -> Decimal:
        return next((quantity for level, quantity in self.levels if level == price), _NONE)

    def offered(self, limit: Decimal | None) -> Iterator[tuple[Decimal, Decimal]]:
        """Yields price and available quantity up to a limit, best first."""
        for price, quantity in self.levels:
            if limit is not None and self.is_better(limit, price):
                return
            available = quantity - self._taken.get(price, _NONE)
            if available > 0:
                yield price, available

    def take(self, price: Decimal, quantity: Decimal) -> None:
        self._taken[price] = self._taken.get(price, _NONE) + quantity


class Liquidity:
    """The live book of one symbol, less what was taken from it."""

    def __init__(self) -> None:
        self.synced = False
        """Whether the book is known and current."""
        self._bids, self._asks = _BookSide(-1), _BookSide(1)

    def update(self, bids: Levels, asks: Levels, *, complete: bool = False) -> None:
        """Applies a book. `complete` means that it has all levels of the venue's book."""
        self._bids.update(bids, complete=complete)
        self._asks.update(asks, complete=complete)
        self.synced = True

    def mark_stale(self) -> None:
        """Marks the book as stale: nothing is offered until its next update."""
        self.synced = False
        self._bids.clear()
        self._asks.clear()

    def offered(self, side: Side, limit: Decimal | None) -> Iterator[tuple[Decimal, Decimal]]:
        """Yields price and quantity that a taker of `side` can trade with, up to its limit, best first."""
        return self._opposite(side).offered(limit)

    def take(self, side: Side, price: Decimal, quantity: Decimal) -> None:
        """Records that a taker of `side` took a quantity at a price."""
        self._opposite(side).take(price, quantity)

    def crosses(self, side: Side, limit: Decimal) -> bool:
        """Returns whether the opposite side shows an order's limit or a better price."""
        book = self._opposite(side)
        return bool(book.levels) and not book.is_better(limit, book.levels[0][0])

    def standing(self, side: Side, price: Decimal) -> Decimal | None:
        """Returns the quantity shown at a price on the order's own side; None where it is not visible."""
        book = self._bids if side is Side.BUY else self._asks
        return book.shown(price) if book.is_visible(price) else None

    def _opposite(self, side: Side) -> _BookSide:
        return self._asks if side is Side.BUY else self._bids

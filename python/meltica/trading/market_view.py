"""`MarketFeed`: the market that risk reads, kept by the core without Python.

The core has no connection per symbol: a provider counts as one connection, and so does its delay.
"""

import threading
from collections.abc import Collection
from decimal import Decimal
from typing import TYPE_CHECKING

from meltica._core import Quotes
from meltica.model.enums import Side
from meltica.trading.clock import BOOT_TIME
from meltica.trading.risk.market import Quote

if TYPE_CHECKING:
    from meltica._core import Core


class MarketFeed:
    """The latest prices of the traded symbols and of conversion pairs. Times are those of trading's clock."""

    def __init__(self, core: "Core") -> None:
        """Creates a market of no symbol."""
        self._quotes = Quotes(core, BOOT_TIME)
        self._watching = threading.Lock()

    def watch(self, routes: Collection[tuple[str, str]]) -> None:
        """Sets the symbols, as (provider, symbol), in place of the previous ones.

        A symbol has no quote before its next event. Raises CapacityError when the core has no room for a
        symbol: those before it are watched.
        """
        with self._watching:
            self._quotes.watch(sorted(routes))

    def quote(self, provider: str, symbol: str) -> Quote | None:
        """Returns the latest prices of a symbol; None before the first, and while its feed is stale."""
        found = self._quotes.quote(provider, symbol)
        return None if found is None else Quote(*found)

    def depth(self, provider: str, symbol: str, side: Side, limit: Decimal) -> Decimal | None:
        """Returns the quantity that an order of `side` meets at `limit` or better.

        None without a complete book. The best 128 levels count.
        """
        return self._quotes.depth(provider, symbol, side, limit)

    def close(self) -> bool:
        """Ends the market, which has no quotes afterwards; returns True."""
        self._quotes.close()
        return True

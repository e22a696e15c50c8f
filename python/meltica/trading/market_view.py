"""`MarketFeed`: the prices of the symbols that instances trade, as risk reads them.

Each symbol has a reader of its own, on one thread for all. A symbol whose book or ticker is stale has no
quote until its next update.
"""

from collections.abc import Collection
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from meltica.model.enums import Side
from meltica.trading.exact import ZERO
from meltica.trading.readers import Readers
from meltica.trading.risk.market import Quote

if TYPE_CHECKING:
    from meltica._core import BookSnapshot, Core, Host, Instance, MarketStale, Ticker

Route = tuple[str, str]
"""Provider and symbol."""


class MarketFeed:
    """The quotes and books of symbols; implements `Market`."""

    def __init__(self, core: "Core") -> None:
        """Creates a feed of no symbol."""
        self._quotes: dict[Route, Quote] = {}
        self._books: dict[Route, BookSnapshot] = {}
        self._readers = Readers[Route](core, self._add)

    def watch(self, routes: Collection[Route]) -> None:
        """Sets the symbols, as (provider, symbol), in place of the previous ones. Raises CapacityError."""
        _, removed = self._readers.watch(routes)
        for route in removed:
            self._forget(route)

    def close(self) -> bool:
        """Stops the feed; returns whether its thread ended in time."""
        return self._readers.close()

    def quote(self, provider: str, symbol: str) -> Quote | None:
        """Returns the latest prices of a symbol; None before the first, and while its feed is stale."""
        return self._quotes.get((provider, symbol))

    def depth(self, provider: str, symbol: str, side: Side, limit: Decimal) -> Decimal | None:
        """Returns the quantity that an order of `side` meets at `limit` or better; None without a book."""
        book = self._books.get((provider, symbol))
        if book is None:
            return None
        if side is Side.BUY:
            met = (level.quantity_decimal for level in book.asks if level.price_decimal <= limit)
        else:
            met = (level.quantity_decimal for level in book.bids if level.price_decimal >= limit)
        return sum(met, ZERO)

    def _add(self, host: "Host", route: Route) -> "Instance":
        provider, symbol = route
        return host.add(
            f"market of {symbol} at {provider}",
            callbacks={
                "BookSnapshot": partial(self._book, route),
                "Ticker": partial(self._ticker, route),
                "MarketStale": partial(self._stale, route),
            },
            routes=[(provider, kind, symbol) for kind in ("BookSnapshot", "Ticker")],
            capacity=64,
        )

    def _book(self, route: Route, book: "BookSnapshot") -> None:
        last = self._quotes.get(route)
        self._books[route] = book
        self._quotes[route] = Quote(
            bid=book.bids[0].price_decimal if book.bids else None,
            ask=book.asks[0].price_decimal if book.asks else None,
            last=None if last is None else last.last,
            event_time=book.received_time,
            book_synced=True,
            connection_time=book.received_time,
        )

    def _ticker(self, route: Route, ticker: "Ticker") -> None:
        book = self._books.get(route)
        self._quotes[route] = Quote(
            bid=ticker.bid_decimal,
            ask=ticker.ask_decimal,
            last=ticker.last_decimal,
            event_time=ticker.received_time,
            book_synced=book is not None,
            connection_time=ticker.received_time,
        )

    def _stale(self, route: Route, _notice: "MarketStale") -> None:
        self._forget(route)

    def _forget(self, route: Route) -> None:
        self._quotes.pop(route, None)
        self._books.pop(route, None)

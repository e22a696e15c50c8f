"""`MarketReader`: reads the latest market data of routes, at the pace of who takes it.

1. Each route has a reader in the core with one cell: a later event replaces an earlier one before Python sees
   it, so a fast market costs a strategy no more than a slow one.
2. One thread reads all cells, round by round. Between two calls of `open` it reads no cell more than `READS`
   times, then it sleeps. The first round may be older than the call; the second is not.
3. The memory of the cells is credit of their own, so no reader takes it from a strategy.
"""

import logging
import threading
from collections import Counter
from collections.abc import Collection, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from meltica.control.streams.market_events import MARKET, MAX_DEPTH, MarketRoute
from meltica.errors import one_line
from meltica.trading.readers import Readers

if TYPE_CHECKING:
    from meltica._core import Core, Event, Host, Instance

READS: Final = 3
PATIENCE: Final = 1.0
"""Seconds after which the thread reads again without a call of `open`."""

log = logging.getLogger("meltica.streams")


class MarketReader:
    """The readers of all routes. `watch` and `close` block; the other methods do not."""

    def __init__(self, core: "Core") -> None:
        self._readers = Readers[MarketRoute](core, self._add)
        self._lock = threading.Lock()
        self._latest: dict[tuple[MarketRoute, str], Event] = {}
        self._reads = Counter[tuple[MarketRoute, str]]()
        self._opened = threading.Event()
        self._changing = False

    def watch(self, routes: Collection[MarketRoute]) -> None:
        """Sets the routes in place of the previous ones.

        Raises CapacityError when the core has no room for a route; those before it are watched.
        """
        with self._awake():
            self._readers.watch(routes)

    def is_watched(self, route: MarketRoute) -> bool:
        """Returns whether a route is read."""
        return self._readers.is_watched(route)

    def open(self) -> None:
        """Lets the thread read all cells again."""
        with self._lock:
            self._reads.clear()
            self._opened.set()

    def take(self) -> "list[tuple[MarketRoute, Event]]":
        """Returns the latest events and notices that were not taken yet, in their order."""
        with self._lock:
            latest, self._latest = self._latest, {}
        return [(route, event) for (route, _), event in latest.items()]

    def close(self) -> bool:
        """Ends the readers and their thread; returns whether all ended in time."""
        with self._awake():
            return self._readers.close()

    @contextmanager
    def _awake(self) -> Generator[None]:
        """Keeps the thread from sleeping: it makes the changes of readers."""
        self._changing = True
        self.open()
        try:
            yield
        finally:
            self._changing = False

    def _add(self, host: "Host", route: MarketRoute) -> "Instance":
        kind = MARKET[route.kind]
        notices = ("MarketStale", "BookGap") if route.kind == "book" else ("MarketStale",)
        return host.add(
            f"{route.kind} of {route.symbol} at {route.provider} for streams",
            callbacks={each: partial(self._read, (route, each)) for each in (kind, *notices)},
            routes=[(route.provider, kind, route.symbol)],
            policies={kind: "conflate"},
            book_depth=MAX_DEPTH,
            capacity=1,
            on_error=partial(_failed, route),
        )

    def _read(self, key: tuple[MarketRoute, str], event: "Event") -> None:
        """Keeps an event for `take`. Called on the thread."""
        with self._lock:
            self._latest.pop(key, None)  # the latest event comes last
            self._latest[key] = event
            self._reads[key] += 1
            if self._changing or self._reads[key] < READS:
                return
            self._opened.clear()
        self._opened.wait(PATIENCE)


def _failed(route: MarketRoute, name: str, error: BaseException) -> None:
    log.error("%s not streamed: %s: %s", route, name, one_line(error), exc_info=error)

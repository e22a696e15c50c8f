"""`MarketTap`: the latest market data of the routes that streams watch.

1. A route is subscribed when the first stream watches it, and unsubscribed `LINGER` seconds after the last
   one: a client that reconnects costs the venue nothing. Without routes, nothing runs.
2. Every `INTERVAL`, each stream gets the latest value of each of its routes that has a new one.
3. A route is stale from its subscription until its first value, and while its provider cannot send it. A
   stream that begins gets the latest value of a route, or why it is stale; so silence means a quiet market.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from meltica.control.streams.market_choice import Listings
from meltica.control.streams.market_events import (
    WAITING,
    MarketEvent,
    MarketRoute,
    market_event,
    stale_event,
)
from meltica.control.streams.market_reader import MarketReader
from meltica.control.streams.subscriber import Subscriber
from meltica.errors import MelticaError, one_line
from meltica.http.errors import HttpError
from meltica.runtime.threads import call

if TYPE_CHECKING:
    from meltica._core import Core
    from meltica.providers.manager import ProviderManager

INTERVAL: Final = 0.2
"""Seconds between two updates of a route: each stream gets at most five a second."""
SETTLE: Final = 0.01
"""Seconds from the call to read all cells until they are taken."""
CHECK: Final = 1.0
"""Seconds between two checks of the providers, and two attempts at routes that the core refused."""
LINGER: Final = 10.0
MAX_ROUTES: Final = 256
"""Most routes of all streams."""

log = logging.getLogger("meltica.streams")

Fault = tuple[str, str]


class MarketTap:
    """The market data of all streams of a gateway. Only the loop's thread uses it."""

    def __init__(self, core: "Core", providers: "ProviderManager") -> None:
        self._core = core
        self._providers = providers
        self._watchers: dict[MarketRoute, set[Subscriber]] = {}
        self._left: dict[MarketRoute, float] = {}
        """When the last stream of a route ended, on the loop's clock."""
        self._current: dict[MarketRoute, MarketEvent] = {}
        self._faults: dict[MarketRoute, Fault] = {}
        self._listings = Listings()
        self._refused: str | None = None
        """Why the core does not read all routes."""
        self._changed = False
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Returns how many routes are subscribed."""
        return len(self._watchers)

    def admit(self, routes: Collection[MarketRoute]) -> None:
        """Raises HttpError if the routes are too many beside those of other streams."""
        watched = {route for route, watchers in self._watchers.items() if watchers}
        if len(watched.union(routes)) > MAX_ROUTES:
            text = f"stream not opened: the streams watch {MAX_ROUTES} routes at most; watch fewer symbols"
            raise HttpError(503, "too_many_routes", text, headers={"retry-after": "5"})

    def join(self, subscriber: Subscriber) -> None:
        """Gives the latest market data to a stream, and from now on each new value."""
        for route in subscriber.filter.routes:
            if route not in self._watchers:
                self._watchers[route] = set()
                fault = self._fault(route)
                if fault is not None:
                    self._faults[route] = fault
                self._current[route] = stale_event(route, *(fault or WAITING))
                self._changed = True
            self._watchers[route].add(subscriber)
            self._left.pop(route, None)
            _push(subscriber, self._current[route])
        self._start()

    def leave(self, subscriber: Subscriber) -> None:
        """Ends the market data of a stream, also of one that did not join."""
        now = asyncio.get_running_loop().time()
        for route in subscriber.filter.routes:
            watchers = self._watchers.get(route)
            if watchers is not None and subscriber in watchers:
                watchers.discard(subscriber)
                if not watchers:
                    self._left[route] = now

    async def close(self) -> None:
        """Unsubscribes all routes. The streams have ended."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _start(self) -> None:
        if self._watchers and self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-market-streams")

    async def _run(self) -> None:
        loop, reader = asyncio.get_running_loop(), MarketReader(self._core)
        check = loop.time() + CHECK
        try:
            while self._watchers:
                try:
                    if self._changed:
                        await self._subscribe(reader)
                    reader.open()
                    await asyncio.sleep(SETTLE)
                    self._spread(market_event(*taken) for taken in reader.take())
                    if loop.time() >= check:
                        check = loop.time() + CHECK
                        self._changed |= self._refused is not None
                        self._spread(self._changed_faults(reader))
                    self._forget(loop.time() - LINGER)
                except Exception:
                    log.exception("market data not streamed, retrying")
                await asyncio.sleep(INTERVAL - SETTLE)
        finally:
            await asyncio.shield(call(reader.close, "meltica-market-close"))
            self._task = None
            self._start()

    async def _subscribe(self, reader: MarketReader) -> None:
        self._changed, routes = False, set(self._watchers)
        try:
            await call(lambda: reader.watch(routes), "meltica-market-watch")
            self._refused = None
        except MelticaError as error:
            self._refused = one_line(error)

    def _forget(self, until: float) -> None:
        """Removes the routes that no stream has watched since a time."""
        for route in [route for route, left in self._left.items() if left <= until]:
            for found in (self._watchers, self._left, self._current, self._faults):
                found.pop(route, None)
            self._changed = True

    def _spread(self, events: Iterable[MarketEvent]) -> None:
        for event in events:
            _, route = event.key
            watchers = self._watchers.get(route)
            if watchers is None:
                continue
            if event.kind != "gap":  # what follows a gap says whether values hold
                self._current[route] = event
            for subscriber in watchers:
                _push(subscriber, event)

    def _changed_faults(self, reader: MarketReader) -> Iterable[MarketEvent]:
        """Yields the routes that can have no value any more, and those that can again."""
        for route in self._watchers:
            fault = self._fault(route)
            if fault is None and self._refused is not None and not reader.is_watched(route):
                fault = "not_subscribed", self._refused
            if fault == self._faults.get(route):
                continue
            if fault is not None:
                self._faults[route] = fault
                yield stale_event(route, *fault)
                continue
            del self._faults[route]
            if self._current[route].is_stale:
                yield stale_event(route, *WAITING)

    def _fault(self, route: MarketRoute) -> Fault | None:
        """Returns why a provider sends no value of a route."""
        provider = self._providers.find(route.provider)
        if provider is None:
            return "unavailable", f"provider `{route.provider}` does not exist"
        if not provider.running:
            return "unavailable", f"provider `{provider.name}` is {provider.actual}"
        if provider.connection_error is not None:
            return "disconnected", f"provider `{provider.name}`: {provider.connection_error}"
        if provider.route_error is not None:
            return "not_subscribed", f"provider `{provider.name}`: {provider.route_error}"
        if self._listings.excludes(provider, route.symbol):
            return "not_listed", f"provider `{provider.name}` does not list the symbol"
        return None


def _push(subscriber: Subscriber, event: MarketEvent) -> None:
    subscriber.push_latest(event.key, event.frame(subscriber.filter.depth))

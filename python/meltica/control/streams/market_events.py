"""Market data as streams send it: the latest value of each route, or why there is none."""

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meltica.control.streams.frames import frame

if TYPE_CHECKING:
    from meltica._core import Event

MARKET: Final = {
    "trade": "Trade",
    "ticker": "Ticker",
    "book": "BookSnapshot",
    "kline": "KlineSummary",
}
"""Kind of a stream -> kind of the core's events."""
NOTICES: Final = {"MarketStale": "stale", "BookGap": "gap"}
"""Notice of the core -> the kind that each stream of its route has, too."""
MAX_DEPTH: Final = 25
"""Levels on each side of a book. Lambdas have as many by default, so the core makes no copy for streams."""
DEFAULT_DEPTH: Final = 10
WAITING: Final = "waiting", "no event has come since the subscription"

_NS: Final = 10**6
_TIMES: Final = {"openTime": "open_time", "closeTime": "close_time"}
_OMITTED: Final = frozenset({"timestamp", "lastUpdate", "checksum"})


class MarketRoute(NamedTuple):
    """What a stream watches: one kind of one symbol at one provider."""

    provider: str
    kind: str
    symbol: str


class MarketEvent:
    """A value, a gap or the staleness of a route. It is encoded once for all streams of one depth."""

    def __init__(self, route: MarketRoute, kind: str, at: int, values: dict[str, Any]) -> None:
        """`at` is in ms. `values` are the keys besides those of all market data."""
        self.kind = kind
        self.key = kind, route
        """What identifies the thing whose latest state this is."""
        self._data: dict[str, Any] = {"at": at, "provider": route.provider, "symbol": route.symbol, **values}
        self._frames = dict[int, bytes]()

    @property
    def is_stale(self) -> bool:
        """Whether the values before it no longer hold."""
        return self.kind == "stale"

    def frame(self, depth: int) -> bytes:
        """Returns it in the format of Server-Sent Events; of a book, the best levels of each side."""
        wanted = depth if self.kind == "book" else 0
        found = self._frames.get(wanted)
        if found is None:
            data = self._data
            if wanted:
                book = data["book"]
                data = {**data, "book": {**book, "bids": book["bids"][:depth], "asks": book["asks"][:depth]}}
            found = self._frames[wanted] = frame(self.kind, data)
        return found


def market_event(route: MarketRoute, event: "Event") -> MarketEvent:
    """Returns an event of the core as streams send it."""
    at, payload = event.received_time // _NS, event.to_dict()["payload"]
    values: dict[str, Any] = {key: value for key, value in payload.items() if key not in _OMITTED}
    if event.kind in NOTICES:
        return MarketEvent(route, NOTICES[event.kind], at, {"kind": route.kind, **values})
    values |= {key: getattr(event, name) // _NS for key, name in _TIMES.items() if key in payload}
    head = {"sequence": event.provider_seq}
    if event.venue_time is not None:
        head["venueTime"] = event.venue_time // _NS
    return MarketEvent(route, route.kind, at, {**head, route.kind: values})


def stale_event(route: MarketRoute, reason: str, message: str) -> MarketEvent:
    """Returns why no value of a route holds, from now on."""
    values = {"kind": route.kind, "reason": reason, "message": message}
    return MarketEvent(route, "stale", int(time.time() * 1000), values)

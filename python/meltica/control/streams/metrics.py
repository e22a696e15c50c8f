"""Metrics of the streams to clients."""

from collections.abc import Iterator, Mapping

from meltica._core import Metrics
from meltica.control.streams.hub import EventHub
from meltica.control.streams.market import MarketTap
from meltica.telemetry.families import counter, gauge
from meltica.telemetry.registry import Reading, Source


def stream_metrics(hub: EventHub, market: MarketTap) -> Source:
    """Returns the collector of the streams that are open, and of those that ended, by code."""

    def source() -> Reading:
        current, routes, ended = len(hub), len(market), dict(hub.closed)
        return lambda: _metrics(current, routes, ended)

    return source


def _metrics(current: int, routes: int, ended: Mapping[str, int]) -> Iterator[Metrics]:
    yield gauge("meltica_event_streams", "Streams of events to clients.", (), [((), current)])
    text = "Kinds of symbols whose market data streams watch."
    yield gauge("meltica_event_routes", text, (), [((), routes)])
    yield counter(
        "meltica_event_streams_ended",
        "Streams that ended, by code.",
        ("code",),
        [((code,), n) for code, n in ended.items()],
    )

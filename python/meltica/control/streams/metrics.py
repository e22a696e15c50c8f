"""Metrics of the streams to clients."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from meltica.control.streams.hub import EventHub
from meltica.telemetry.families import counter, gauge
from meltica.telemetry.registry import Reading, Source


def stream_metrics(hub: EventHub) -> Source:
    """Returns the collector of the streams that are open, and of those that ended, by code."""

    def source() -> Reading:
        current, ended = len(hub), dict(hub.closed)
        return lambda: _metrics(current, ended)

    return source


def _metrics(current: int, ended: Mapping[str, int]) -> Iterator[Metric]:
    yield gauge("meltica_event_streams", "Streams of events to clients.", (), [((), current)])
    yield counter(
        "meltica_event_streams_ended",
        "Streams that ended, by code.",
        ("code",),
        [((code,), n) for code, n in ended.items()],
    )

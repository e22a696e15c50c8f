"""Metrics of an HTTP server."""

from collections.abc import Iterator, Mapping

from meltica._core import Metrics
from meltica.telemetry.families import counter
from meltica.telemetry.registry import Reading, Source


def request_metrics(requests: Mapping[tuple[str, str, int], int]) -> Source:
    """Returns the collector of a server's requests, counted by (method, route, status)."""

    def source() -> Reading:
        counted = dict(requests)
        return lambda: _metrics(counted)

    return source


def _metrics(counted: Mapping[tuple[str, str, int], int]) -> Iterator[Metrics]:
    yield counter(
        "meltica_api_requests",
        "Requests to the control plane.",
        ("method", "route", "status"),
        [((method, route, str(status)), n) for (method, route, status), n in counted.items()],
    )

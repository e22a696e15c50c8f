"""Metrics of the database's connection pool."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from meltica._core import Metrics
from meltica.telemetry.families import counter, gauge
from meltica.telemetry.registry import Reading, Source

if TYPE_CHECKING:
    from meltica.persistence.database import Database


def database_metrics(database: "Database") -> Source:
    """Returns the collector of a database's pool."""

    def source() -> Reading:
        stats = database.stats()
        return lambda: _metrics(stats)

    return source


def _metrics(stats: Mapping[str, int]) -> Iterator[Metrics]:
    available, waiting = stats.get("pool_available", 0), stats.get("requests_waiting", 0)
    acquired = stats.get("pool_size", 0) - available
    yield gauge(
        "meltica_db_pool_connections",
        "Connections to the database.",
        ("state",),
        [(("idle",), available), (("acquired",), acquired)],
    )
    yield gauge("meltica_db_pool_waiting", "Requests that wait for a connection.", (), [((), waiting)])
    for field, name, text in (
        ("requests_num", "requests", "Requests for a connection."),
        ("requests_errors", "request_errors", "Requests that timed out."),
        ("connections_errors", "connection_errors", "Connections that could not be opened."),
        ("connections_lost", "connections_lost", "Connections that broke."),
    ):
        yield counter(f"meltica_db_pool_{name}", text, (), [((), stats.get(field, 0))])

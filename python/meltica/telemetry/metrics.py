"""The gateway's metrics for Prometheus: read from the counters of the core when somebody scrapes.

A scrape has two halves: `look` takes what belongs to the event loop's thread; `render` reads the core's
atomics and makes the text, on any thread. `docs/telemetry.md` explains each metric; a test compares the two.

Labels have few values: names from the configuration, kinds of events, states, and sorts of errors.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from platform import python_version
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from meltica import _core
from meltica.telemetry.families import Counts, by_kind, counter, gauge, histogram
from meltica.telemetry.process import threads
from meltica.telemetry.supervised import LambdaView, ProviderView, lambdas, providers

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway


@dataclass(frozen=True)
class Seen:
    """What a scrape took on the event loop's thread."""

    core: _core.Core
    info: dict[str, str]
    uptime: float
    lock_held: bool
    pool_limit: int
    providers: list[ProviderView]
    lambdas: list[LambdaView]
    database: Mapping[str, int]
    requests: Mapping[tuple[str, str, int], int]


def look(gateway: "Gateway", requests: Mapping[tuple[str, str, int], int]) -> Seen:
    """Takes what belongs to the event loop's thread. `requests` counts (method, route, status)."""
    settings = gateway.settings
    return Seen(
        core=gateway.core,
        info={
            "version": _core.__version__,
            "python_version": python_version(),
            "environment": settings.environment,
            "service_name": settings.telemetry.service_name,
        },
        uptime=time.time() - gateway.started_at,
        lock_held=gateway.lock.held,
        pool_limit=settings.pools.max_bytes,
        providers=[
            ProviderView(
                name=one.name,
                actual=one.actual,
                desired=one.desired,
                connected=one.running and one.connection_error is None,
                restarts=one.restarts,
                instruments=len(one.instruments),
            )
            for one in gateway.providers.all()
        ],
        lambdas=[
            LambdaView(
                id=one.id,
                actual=one.actual,
                desired=one.desired,
                run=one.run,
                strategy=one.strategy,
                revision=gateway.instances.stored(one.id).revision or "",
            )
            for one in gateway.instances.all()
        ],
        database=gateway.database.stats(),
        requests=dict(requests),
    )


def render(seen: Seen, accept: str) -> tuple[str, str]:
    """Returns the text in the best format that an Accept header names, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(GatewayCollector(seen)).decode(), media_type


class GatewayCollector(Collector):
    """The metrics of one scrape."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Yields every metric."""
        yield from _gateway(self._seen)
        # Histograms first: what comes between the two readings is in the total, which is never too small.
        decode, stats = self._seen.core.histograms(), self._seen.core.stats()
        yield from _dispatch(self._seen, stats, decode)
        yield from _pools(self._seen, stats)
        yield from providers(self._seen.providers, stats["providers"])
        yield from lambdas(self._seen.lambdas)
        yield from _database(self._seen.database)
        yield from ProcessCollector(registry=None).collect()
        yield from threads()


def _gateway(seen: Seen) -> Iterator[Metric]:
    yield gauge(
        "meltica_build_info", "What runs here; always 1.", seen.info, [(tuple(seen.info.values()), 1)]
    )
    yield gauge("meltica_uptime_seconds", "Since the gateway began to start.", (), [((), seen.uptime)])
    yield gauge(
        "meltica_gateway_lock_held",
        "Whether this gateway holds its database; while it does not, no order leaves.",
        (),
        [((), seen.lock_held)],
    )
    yield counter(
        "meltica_api_requests",
        "Requests to the control plane.",
        ("method", "route", "status"),
        [((method, route, str(status)), n) for (method, route, status), n in seen.requests.items()],
    )


def _dispatch(seen: Seen, stats: Mapping[str, Any], decode: Mapping[str, Counts]) -> Iterator[Metric]:
    feeds: Mapping[str, Mapping[str, Any]] = stats["providers"]
    yield counter(
        "meltica_eventbus_events_published",
        "Events that a provider sent and somebody wanted.",
        ("provider", "event_type"),
        by_kind(feeds, "events"),
    )
    subscribers = Counter(kind for one in seen.lambdas if one.runs for kind in one.kinds)
    yield gauge(
        "meltica_eventbus_subscribers",
        "Running lambdas that subscribe to a kind of event.",
        ("event_type",),
        [((kind,), subscribers[kind]) for kind in _core.KINDS],
    )
    yield counter(
        "meltica_eventbus_delivery_errors",
        "Events that were lost because no slot was free.",
        ("provider",),
        [((name,), feed["no_slot"]) for name, feed in feeds.items()],
    )
    yield counter(
        "meltica_dispatcher_events",
        "Events given a number, by all providers and lambdas.",
        (),
        [((), stats["dispatched"])],
    )
    for field, name, text in (
        ("unwanted", "unwanted", "Events that nobody subscribed to."),
        ("duplicates", "duplicate", "Events dropped because their id had been seen."),
        ("stale_ids", "stale", "Events dropped because their id is older than the window of known ids."),
    ):
        yield counter(
            f"meltica_dispatcher_events_{name}",
            text,
            ("provider",),
            [((p,), f[field]) for p, f in feeds.items()],
        )
    yield histogram(
        "meltica_dispatcher_processing_duration_seconds",
        "From a frame's arrival in the core to the last dispatch of its events.",
        "provider",
        [
            (name, counts, feeds[name]["decode_ns"]["count"])
            for name, counts in decode.items()
            if name in feeds
        ],
    )
    yield gauge(
        "meltica_dispatcher_routing_revision",
        "Version of the routing table.",
        (),
        [((), stats["routing_version"])],
    )


def _pools(seen: Seen, stats: Mapping[str, Any]) -> Iterator[Metric]:
    pools: dict[str, dict[str, int]] = {"event": stats["event_pool"], "book": stats["book_pool"]}
    for pool in pools.values():
        pool["used"] = pool["capacity"] - pool["free"]
    for field, name, text in (
        ("capacity", "capacity", "Slots there are."),
        ("free", "available", "Slots that are free."),
        ("used", "objects_active", "Slots in use."),
    ):
        yield gauge(
            f"meltica_pool_{name}", text, ("pool_name",), [((n,), pool[field]) for n, pool in pools.items()]
        )
    yield counter(
        "meltica_pool_exhausted",
        "Times that a slot was asked for and none was free.",
        ("pool_name",),
        [((name,), pool["exhausted"]) for name, pool in pools.items()],
    )
    yield gauge(
        "meltica_pool_reserved_bytes", "What running lambdas reserved.", (), [((), stats["reserved_bytes"])]
    )
    yield gauge("meltica_pool_limit_bytes", "What they may reserve.", (), [((), seen.pool_limit)])


def _database(stats: Mapping[str, int]) -> Iterator[Metric]:
    available, waiting = stats.get("pool_available", 0), stats.get("requests_waiting", 0)
    acquired = stats.get("pool_size", 0) - available
    yield gauge(
        "meltica_db_pool_connections",
        "Connections to the database.",
        ("state",),
        [(("idle",), available), (("acquired",), acquired)],
    )
    yield gauge("meltica_db_pool_waiting", "Who waits for a connection.", (), [((), waiting)])
    for field, name, text in (
        ("requests_num", "requests", "Times that a connection was asked for."),
        ("requests_errors", "request_errors", "Times that none came in time."),
        ("connections_errors", "connection_errors", "Connections that could not be opened."),
        ("connections_lost", "connections_lost", "Connections that broke."),
    ):
        yield counter(f"meltica_db_pool_{name}", text, (), [((), stats.get(field, 0))])

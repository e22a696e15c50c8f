"""Metrics of the data plane: dispatch, pools and the providers' feeds, read from the core's counters.

The metrics of each package are in its own `metrics.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric

from meltica._core import Core
from meltica.telemetry.families import Counts, by_kind, counter, gauge, histogram
from meltica.telemetry.registry import Reading, Source

_CHECKSUMS = {outcome: f"checksums_{outcome}" for outcome in ("verified", "failed", "unverified")}
_RESTARTS = {"ids": "id_restarts", "frames": "frame_restarts"}
_UNUSED = {
    "history": "history_trades",
    "unchanged_ticker": "unchanged_tickers",
    "bad_candle": "bad_candles",
    "repeated_candle": "repeated_candles",
    "old_frame": "old_frames",
    "old_book": "old_books",
    "old_snapshot": "old_snapshots",
    "repeated_diff": "repeated_diffs",
    "crossed_diff": "crossed_diffs",
    "heartbeat": "heartbeats",
    "standby_book": "standby_books",
}
"""Label -> counter of the core."""


def core_metrics(core: Core, pool_limit: int) -> Source:
    """Returns the collector of one data plane; `pool_limit` is the maximum size of its pools in bytes."""

    def reading() -> Iterator[Metric]:
        # Histograms first: totals that are read later are never lower than the sum of the buckets.
        decode, stats = core.histograms(), core.stats()
        yield from _dispatch(stats, decode)
        yield from _pools(stats, pool_limit)
        yield from _feeds(stats["providers"])

    def source() -> Reading:
        return reading

    return source


def _dispatch(stats: Mapping[str, Any], decode: Mapping[str, Counts]) -> Iterator[Metric]:
    feeds: Mapping[str, Mapping[str, Any]] = stats["providers"]
    yield counter(
        "meltica_eventbus_events_published",
        "Events of a provider with at least one subscriber.",
        ("provider", "event_type"),
        by_kind(feeds, "events"),
    )
    yield counter(
        "meltica_eventbus_delivery_errors",
        "Events lost because the pool was exhausted.",
        ("provider",),
        [((name,), feed["no_slot"]) for name, feed in feeds.items()],
    )
    yield gauge(
        "meltica_eventbus_extension_bytes",
        "Size of the extension events that wait in the queues of lambdas.",
        (),
        [((), stats["extension_bytes"])],
    )
    yield counter(
        "meltica_dispatcher_events",
        "Events sequenced, from providers and lambdas.",
        (),
        [((), stats["dispatched"])],
    )
    for field, name, text in (
        ("unwanted", "unwanted", "Events without a subscriber."),
        ("duplicates", "duplicate", "Events dropped as duplicates, by id."),
        ("stale_ids", "stale", "Events dropped because their id is older than the dedupe window."),
    ):
        yield counter(
            f"meltica_dispatcher_events_{name}",
            text,
            ("provider",),
            [((p,), f[field]) for p, f in feeds.items()],
        )
    yield histogram(
        "meltica_dispatcher_processing_duration_seconds",
        "Time from receipt of a frame to dispatch of its last event.",
        ("provider",),
        [((name,), counts) for name, counts in decode.items() if name in feeds],
    )
    yield gauge(
        "meltica_dispatcher_routing_revision",
        "Version of the routing table.",
        (),
        [((), stats["routing_version"])],
    )


def _pools(stats: Mapping[str, Any], limit: int) -> Iterator[Metric]:
    pools: dict[str, dict[str, int]] = {"event": stats["event_pool"], "book": stats["book_pool"]}
    for pool in pools.values():
        pool["used"] = pool["capacity"] - pool["free"]
    for field, name, text in (
        ("capacity", "capacity", "Slots in total."),
        ("free", "available", "Free slots."),
        ("used", "objects_active", "Slots in use."),
    ):
        yield gauge(
            f"meltica_pool_{name}", text, ("pool_name",), [((n,), pool[field]) for n, pool in pools.items()]
        )
    yield counter(
        "meltica_pool_exhausted",
        "Requests for a slot while the pool was exhausted.",
        ("pool_name",),
        [((name,), pool["exhausted"]) for name, pool in pools.items()],
    )
    yield gauge(
        "meltica_pool_reserved_bytes",
        "Memory reserved by running lambdas.",
        (),
        [((), stats["reserved_bytes"])],
    )
    yield gauge(
        "meltica_pool_limit_bytes", "Maximum memory that running lambdas may reserve.", (), [((), limit)]
    )


def _feeds(feeds: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ("provider",)
    for field, name, text in (
        ("frames", "frames", "Frames received."),
        ("bytes", "frame_bytes", "Bytes of frames received."),
        ("ignored", "messages_ignored", "Messages that no codec declaration matches: replies, heartbeats."),
        ("unknown_enums", "unknown_enums", "Enum values that the codec does not know."),
        ("gaps", "book_gaps", "Books resynchronised after a gap in the venue's ids."),
        ("frame_gaps", "frame_gaps", "Frames of a connection that were lost, by their numbers."),
        ("takeovers", "book_takeovers", "Books that another connection publishes from then on."),
        ("checksum_faults", "checksum_faults", "Books whose snapshots fail their checksums."),
        ("late_trades", "late_trades", "Missed trades delivered after a reconnect."),
        ("crossed_tickers", "crossed_tickers", "Tickers delivered without bid and ask, which crossed."),
    ):
        yield counter(
            f"meltica_provider_{name}", text, labels, [((p,), feed[field]) for p, feed in feeds.items()]
        )
    for name, label, text, fields in (
        ("checksums", "outcome", "Checksums of books.", _CHECKSUMS),
        ("number_restarts", "of", "Restarts of a venue's numbers.", _RESTARTS),
        ("messages_unused", "cause", "Decoded messages without an event.", _UNUSED),
    ):
        yield counter(
            f"meltica_provider_{name}",
            text,
            ("provider", label),
            [((p, value), feed[field]) for p, feed in feeds.items() for value, field in fields.items()],
        )
    yield counter(
        "meltica_provider_errors",
        "Frames that could not be decoded.",
        ("provider", "error"),
        by_kind(feeds, "errors"),
    )
    yield counter(
        "meltica_provider_books_stale",
        "Books that became stale.",
        ("provider", "reason"),
        by_kind(feeds, "stale"),
    )
    yield gauge(
        "meltica_provider_books_unsynced",
        "Books waiting for a snapshot.",
        labels,
        [((name,), feed["unsynced_books"]) for name, feed in feeds.items()],
    )
    yield gauge(
        "meltica_provider_waiting_bytes",
        "Size of the book changes that wait for snapshots.",
        labels,
        [((name,), feed["waiting_bytes"]) for name, feed in feeds.items()],
    )

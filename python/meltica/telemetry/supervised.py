"""Metrics of what is supervised: providers and lambdas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from meltica.lambdas.strategy import name_of, subscribed
from meltica.runtime.lifecycle import Actual, Desired
from meltica.telemetry.families import by_kind, counter, gauge, histogram

if TYPE_CHECKING:
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.instances import LambdaInstance

PROVIDER_STATES = ("pending", "starting", "running", "stopped", "failed")
LAMBDA_STATES = tuple(state.value for state in Actual)


@dataclass(frozen=True)
class ProviderView:
    """A provider at the time of a scrape."""

    name: str
    actual: Actual
    desired: Desired
    connected: bool
    restarts: int
    instruments: int


@dataclass(frozen=True)
class LambdaView:
    """A lambda at the time of a scrape."""

    id: str
    actual: Actual
    desired: Desired
    run: "LambdaInstance | None"
    strategy: "type[Lambda] | None"
    revision: str

    @property
    def runs(self) -> bool:
        """Whether it is there to get events."""
        return self.actual in (Actual.RUNNING, Actual.STUCK)

    @property
    def kinds(self) -> list[str]:
        """The kinds of events it subscribes to."""
        return [] if self.strategy is None else subscribed(self.strategy)


def providers(seen: list[ProviderView], feeds: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Yields the metrics of providers; `feeds` are their counters."""
    labels = ("provider",)
    yield gauge(
        "meltica_provider_state",
        "1 for the state a provider is in, 0 for the others.",
        ("provider", "state"),
        [((p.name, state), p.actual.value == state) for p in seen for state in PROVIDER_STATES],
    )
    yield gauge(
        "meltica_provider_desired",
        "Whether a provider should run.",
        labels,
        [((p.name,), p.desired is Desired.RUNNING) for p in seen],
    )
    yield gauge(
        "meltica_provider_connected",
        "Whether a provider runs and its adapter has its connections.",
        labels,
        [((p.name,), p.connected) for p in seen],
    )
    yield gauge(
        "meltica_provider_instruments",
        "Instruments a provider knows.",
        labels,
        [((p.name,), p.instruments) for p in seen],
    )
    yield counter(
        "meltica_provider_restarts",
        "Starts of a provider after it failed.",
        labels,
        [((p.name,), p.restarts) for p in seen],
    )
    for field, name, text in (
        ("frames", "frames", "Frames received."),
        ("bytes", "frame_bytes", "Their bytes."),
        ("ignored", "messages_ignored", "Messages that the codec declares nothing for: replies, heartbeats."),
        ("unknown_enums", "unknown_enums", "Values of enumerations that the codec does not know."),
        ("gaps", "book_gaps", "Books resynchronised because of a hole in the venue's ids."),
    ):
        yield counter(
            f"meltica_provider_{name}", text, labels, [((p,), feed[field]) for p, feed in feeds.items()]
        )
    yield counter(
        "meltica_provider_errors",
        "Frames that could not be decoded.",
        ("provider", "error"),
        by_kind(feeds, "errors"),
    )
    yield counter(
        "meltica_provider_books_stale",
        "Books that went stale.",
        ("provider", "reason"),
        by_kind(feeds, "stale"),
    )
    yield gauge(
        "meltica_provider_books_unsynced",
        "Books that wait for a snapshot.",
        labels,
        [((name,), feed["unsynced_books"]) for name, feed in feeds.items()],
    )


def lambdas(seen: list[LambdaView]) -> Iterator[Metric]:
    """Yields the metrics of lambdas."""
    labels = ("lambda",)
    yield gauge(
        "meltica_lambda_state",
        "1 for the state a lambda is in, 0 for the others.",
        ("lambda", "state"),
        [((one.id, state), one.actual.value == state) for one in seen for state in LAMBDA_STATES],
    )
    yield gauge(
        "meltica_lambda_desired",
        "Whether a lambda should run.",
        labels,
        [((one.id,), one.desired is Desired.RUNNING) for one in seen],
    )
    running: dict[tuple[str, ...], float] = {}
    for one in seen:
        if one.runs:
            key = ("" if one.strategy is None else name_of(one.strategy), one.revision)
            running[key] = running.get(key, 0) + 1
    yield gauge(
        "meltica_strategy_revision_instances",
        "Running lambdas of a revision.",
        ("strategy", "hash"),
        running.items(),
    )
    ran = {one.id: one.run for one in seen if one.run is not None}
    histograms = {id: run.core.histograms() for id, run in ran.items()}
    stats = {id: run.stats() for id, run in ran.items()}
    for field, text in (
        ("delivered", "Events that reached a lambda."),
        ("conflated", "Events that a later one of their symbol replaced while they waited."),
        ("dropped", "Events that a full queue lost."),
    ):
        yield counter(f"meltica_lambda_events_{field}", text, ("lambda", "event_type"), by_kind(stats, field))
    for field, name, text in (
        ("errors", "callback_errors", "Callbacks that raised."),
        ("slow_callbacks", "slow_callbacks", "Callbacks that took longer than slowCallback."),
        ("emitted", "events_emitted", "Extension events that a lambda sent."),
    ):
        yield counter(f"meltica_lambda_{name}", text, labels, [((id,), s[field]) for id, s in stats.items()])
    yield gauge(
        "meltica_lambda_in_callback_seconds",
        "How long the present callback has been running, 0 when none is.",
        labels,
        [((id,), s["in_callback_ns"] / 1e9) for id, s in stats.items()],
    )
    for field, name, text in (
        ("latency", "latency", "From an event's dispatch to its delivery."),
        ("callback", "callback_duration", "What callbacks took."),
    ):
        yield histogram(
            f"meltica_lambda_{name}_seconds",
            text,
            "lambda",
            [(id, h[field], stats[id][f"{field}_ns"]["count"]) for id, h in histograms.items()],
        )

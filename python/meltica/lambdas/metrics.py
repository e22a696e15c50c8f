"""Metrics of lambdas: states, subscriptions, events, callbacks and latencies."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from meltica._core import KINDS
from meltica.lambdas.strategy import description
from meltica.runtime.lifecycle import Desired, InstanceState
from meltica.telemetry.families import Counts, by_kind, counter, gauge, histogram
from meltica.telemetry.registry import Reading, Source

if TYPE_CHECKING:
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.instances import LambdaInstance
    from meltica.lambdas.manager import InstanceManager


@dataclass(frozen=True)
class _LambdaSample:
    """The state of a lambda at the time of a scrape."""

    id: str
    actual: InstanceState
    desired: Desired
    run: "LambdaInstance | None"
    strategy: "type[Lambda] | None"
    revision: str

    @property
    def runs(self) -> bool:
        """Whether events are delivered to it."""
        return self.actual in (InstanceState.RUNNING, InstanceState.STUCK)

    @property
    def kinds(self) -> list[str]:
        """The event kinds it subscribes to."""
        return [] if self.strategy is None else description(self.strategy).kinds


def lambda_metrics(manager: "InstanceManager") -> Source:
    """Returns the collector of a manager's lambdas."""

    def source() -> Reading:
        samples = [
            _LambdaSample(
                id=instance.id,
                actual=instance.actual,
                desired=instance.desired,
                run=instance.run,
                strategy=instance.strategy,
                revision=manager.stored(instance.id).revision or "",
            )
            for instance in manager.all()
        ]
        return lambda: _metrics(samples)

    return source


def _metrics(samples: list[_LambdaSample]) -> Iterator[Metric]:
    subscribers = Counter(kind for one in samples if one.runs for kind in one.kinds)
    yield gauge(
        "meltica_eventbus_subscribers",
        "Running lambdas that subscribe to an event kind.",
        ("event_type",),
        [((kind,), subscribers[kind]) for kind in KINDS],
    )
    labels = ("lambda",)
    yield gauge(
        "meltica_lambda_state",
        "1 for the current state of a lambda, 0 for the others.",
        ("lambda", "state"),
        [((one.id, state), one.actual is state) for one in samples for state in InstanceState],
    )
    yield gauge(
        "meltica_lambda_desired",
        "1 if the desired state of a lambda is running.",
        labels,
        [((one.id,), one.desired is Desired.RUNNING) for one in samples],
    )
    running: dict[tuple[str, ...], float] = {}
    for one in samples:
        if one.runs:
            key = ("" if one.strategy is None else description(one.strategy).strategy.name, one.revision)
            running[key] = running.get(key, 0) + 1
    yield gauge(
        "meltica_strategy_revision_instances",
        "Running lambdas of a revision.",
        ("strategy", "hash"),
        running.items(),
    )
    ran = {one.id: one.run for one in samples if one.run is not None}
    histograms = {id: run.core.histograms() for id, run in ran.items()}
    stats = {id: run.stats() for id, run in ran.items()}
    for field, text in (
        ("delivered", "Events delivered to a lambda."),
        ("conflated", "Queued events replaced by a later one of the same symbol."),
        ("dropped", "Events dropped from a full queue."),
    ):
        yield counter(f"meltica_lambda_events_{field}", text, ("lambda", "event_type"), by_kind(stats, field))
    yield gauge(
        "meltica_lambda_symbols_left_out",
        "Symbols that a lambda does not receive, because its queue has no room for them.",
        labels,
        [((id,), sum(s["left_out"].values())) for id, s in stats.items()],
    )
    for field, name, text in (
        ("errors", "callback_errors", "Callbacks that raised."),
        ("slow_callbacks", "slow_callbacks", "Callbacks that took longer than slowCallback."),
        ("emitted", "events_emitted", "Extension events that a lambda emitted."),
    ):
        yield counter(f"meltica_lambda_{name}", text, labels, [((id,), s[field]) for id, s in stats.items()])
    yield gauge(
        "meltica_lambda_in_callback_seconds",
        "Duration of the running callback, 0 if none is running.",
        labels,
        [((id,), s["in_callback_ns"] / 1e9) for id, s in stats.items()],
    )
    for field, name, text in (
        ("latency", "latency", "Time from the dispatch of an event to its delivery."),
        ("callback", "callback_duration", "Duration of callbacks."),
    ):
        yield histogram(
            f"meltica_lambda_{name}_seconds",
            text,
            ("lambda", "provider"),
            _by_provider(histograms, field),
        )


def _by_provider(
    histograms: dict[str, dict[str, dict[str, Counts]]], field: str
) -> Iterator[tuple[tuple[str, str], Counts]]:
    """Yields the rows of one histogram of all lambdas."""
    for id, found in histograms.items():
        for provider, counts in found[field].items():
            yield (id, provider), counts

"""Metrics of lambdas: states, subscriptions, events, callbacks and latencies."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meltica._core import KINDS, Metrics
from meltica.lambdas.strategy import description
from meltica.runtime.lifecycle import Desired, InstanceState
from meltica.telemetry.families import gauge, states
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


def _metrics(samples: list[_LambdaSample]) -> Iterator[Metrics]:
    subscribers = Counter(kind for one in samples if one.runs for kind in one.kinds)
    yield gauge(
        "meltica_eventbus_subscribers",
        "Running lambdas that subscribe to an event kind.",
        ("event_type",),
        [((kind,), subscribers[kind]) for kind in KINDS],
    )
    labels = ("lambda",)
    yield states(
        "meltica_lambda_state",
        "1 for the current state of a lambda, 0 for the others.",
        labels,
        list(InstanceState),
        [((one.id,), one.actual) for one in samples],
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
    yield Metrics.of_lambdas([(one.id, one.run.core) for one in samples if one.run is not None])

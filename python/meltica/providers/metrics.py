"""Metrics of providers: their states, connections, restarts and instruments."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meltica._core import Metrics
from meltica.runtime.lifecycle import Desired, ProviderState
from meltica.telemetry.families import counter, gauge, states
from meltica.telemetry.registry import Reading, Source

if TYPE_CHECKING:
    from meltica.providers.manager import ProviderManager


@dataclass(frozen=True)
class _ProviderSample:
    """A provider at the time of a scrape."""

    name: str
    actual: ProviderState
    desired: Desired
    connected: bool
    restarts: int
    instruments: int


def provider_metrics(manager: "ProviderManager") -> Source:
    """Returns the collector of a manager's providers."""

    def source() -> Reading:
        samples = [
            _ProviderSample(
                name=provider.name,
                actual=provider.actual,
                desired=provider.desired,
                connected=provider.running and provider.connection_error is None,
                restarts=provider.restarts,
                instruments=len(provider.instruments),
            )
            for provider in manager.all()
        ]
        return lambda: _metrics(samples)

    return source


def _metrics(samples: list[_ProviderSample]) -> Iterator[Metrics]:
    labels = ("provider",)
    yield states(
        "meltica_provider_state",
        "1 for the state a provider is in, 0 for the others.",
        labels,
        list(ProviderState),
        [((p.name,), p.actual) for p in samples],
    )
    yield gauge(
        "meltica_provider_desired",
        "Whether a provider should run.",
        labels,
        [((p.name,), p.desired is Desired.RUNNING) for p in samples],
    )
    yield gauge(
        "meltica_provider_connected",
        "Whether a provider runs and its adapter is connected.",
        labels,
        [((p.name,), p.connected) for p in samples],
    )
    yield gauge(
        "meltica_provider_instruments",
        "Instruments of a provider.",
        labels,
        [((p.name,), p.instruments) for p in samples],
    )
    yield counter(
        "meltica_provider_restarts",
        "Restarts of a provider after a failure.",
        labels,
        [((p.name,), p.restarts) for p in samples],
    )

"""The status line of a gateway, below the log on a terminal."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from meltica._core import HISTOGRAM_BOUNDS_NS
from meltica.cli.replay.summary import duration
from meltica.runtime.lifecycle import InstanceState, ProviderState

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway

ORDER = (
    InstanceState.RUNNING,
    InstanceState.STARTING,
    InstanceState.STOPPING,
    InstanceState.STUCK,
    InstanceState.FAILED,
    InstanceState.STOPPED,
    InstanceState.PENDING,
)


@dataclass(frozen=True)
class Sample:
    """Counters and states of a gateway at one moment; counters since its start."""

    time: float
    dispatched: int
    dropped: int
    latency: tuple[int, ...]
    """Number of deliveries faster than each of HISTOGRAM_BOUNDS_NS."""
    lambdas: tuple[InstanceState, ...]
    providers: tuple[ProviderState, ...]
    database: bool
    trading: tuple[str, ...] = ()
    """A text for each mode in which lambdas trade."""


class StatusLine:
    """Builds the status line from the changes since the previous one."""

    def __init__(self, gateway: "Gateway", clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._clock = clock
        self._started_at = clock()
        self._last = self._sample()

    def next(self) -> str:
        """Returns the current line."""
        before, self._last = self._last, self._sample()
        return line(before, self._last, self._last.time - self._started_at)

    def _sample(self) -> Sample:
        gateway = self._gateway
        runs = [instance.run for instance in gateway.instances.all() if instance.run is not None]
        found = [run.core.histograms()["latency"] for run in runs]
        histograms = [counts for of_run in found for counts, _, _ in of_run.values()]
        return Sample(
            time=self._clock(),
            dispatched=gateway.core.dispatched,
            dropped=sum(sum(run.stats()["dropped"].values()) for run in runs),
            latency=tuple(map(sum, zip(*histograms, strict=True))),
            lambdas=tuple(instance.actual for instance in gateway.instances.all()),
            providers=tuple(provider.actual for provider in gateway.providers.all()),
            database=gateway.lock.held,
            trading=() if gateway.trading is None else gateway.trading.summary(),
        )


def line(before: Sample, now: Sample, up: float) -> str:
    """Returns the line between two samples."""
    seconds = now.time - before.time
    rate = (now.dispatched - before.dispatched) / seconds if seconds > 0 else 0.0
    p99 = quantile(before.latency, now.latency, 0.99)
    # A narrow terminal cuts the end of the line: money first.
    parts = [
        *now.trading,
        f"{rate:,.0f} events/s",
        f"p99 {'<' + duration(p99) if p99 is not None else '-'}",
        f"lambdas {_counts(now.lambdas)}",
        f"providers {_counts(now.providers)}",
        f"dropped {now.dropped:,}",
        f"database {'up' if now.database else 'unavailable'}",
        f"up {_clock(up)}",
    ]
    return " | ".join(parts)


def quantile(before: Sequence[int], now: Sequence[int], share: float) -> int | None:
    """Returns the bound in ns that `share` of the values between two readings is below, or None.

    Both are cumulative counts by HISTOGRAM_BOUNDS_NS.
    """
    counts = [after - earlier for after, earlier in zip_longest(now, before, fillvalue=0)]
    if not counts or counts[-1] <= 0:
        return None
    rank = share * counts[-1]
    return next(bound for bound, count in zip(HISTOGRAM_BOUNDS_NS, counts, strict=False) if count >= rank)


def _counts(states: Sequence[InstanceState | ProviderState]) -> str:
    return ", ".join(f"{states.count(state)} {state}" for state in ORDER if state in states) or "none"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"

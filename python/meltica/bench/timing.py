"""Measurement of durations.

Every figure is the median of five runs after a warm-up. Uniform work is split into pieces of less than a
millisecond, and the median piece is used, because other processes interrupt longer runs on a shared machine.
"""

import collections
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

RUNS = 5

Measure = Callable[[], float]
"""A measurement in ns."""


def median(run: Measure) -> float:
    """Returns the median of `RUNS` runs after a warm-up."""
    return medians(lambda: [run()])[0]


def medians(run: Callable[[], Iterable[float]]) -> list[float]:
    """Returns the median of each figure over `RUNS` runs after a warm-up."""
    _warm = list(run())
    return [statistics.median(figures) for figures in zip(*(list(run()) for _ in range(RUNS)), strict=True)]


def steady(n: int, piece: Callable[[], object]) -> float:
    """Returns the ns of a uniform operation; `piece` performs `n` of them within a millisecond."""
    return statistics.median(medians(lambda: (timed(piece) / n for _ in range(50))))


def timed(work: Callable[[], object]) -> int:
    """Returns the duration of `work` in ns."""
    started = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - started


class Empty:
    """A strategy with an empty callback."""

    def on_trade(self, event: object) -> None:
        """Does nothing."""


def floor_ns() -> float:
    """Returns the floor F: the ns of one call of an empty bound method from C."""
    method, objects = Empty().on_trade, [object()] * 5000
    return steady(len(objects), lambda: collections.deque(map(method, objects), maxlen=0))


def process(*arguments: str) -> Measure:
    """Returns a measurement of a process of this interpreter from start to exit."""
    command = [sys.executable, *arguments]
    return lambda: median(
        lambda: timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    )

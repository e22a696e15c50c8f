"""How figures are taken.

Every figure is the median of five runs after a warm-up. What is always the same is cut into pieces of less
than a millisecond, and the median piece counts: where processors are shared, a run that was interrupted would
tell of its neighbours.
"""

import collections
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

RUNS = 5

Measure = Callable[[], float]
"""Returns ns."""


def median(run: Measure) -> float:
    """Returns the median of `RUNS` runs, after one to warm up."""
    return medians(lambda: [run()])[0]


def medians(run: Callable[[], Iterable[float]]) -> list[float]:
    """Returns the median of each figure of a run over `RUNS` runs, after one to warm up."""
    _warm = list(run())
    return [statistics.median(figures) for figures in zip(*(list(run()) for _ in range(RUNS)), strict=True)]


def steady(n: int, piece: Callable[[], object]) -> float:
    """Returns ns of an operation that is always the same; `piece` does `n` of them, within a millisecond."""
    return statistics.median(medians(lambda: (timed(piece) / n for _ in range(50))))


def timed(work: Callable[[], object]) -> int:
    """Returns the ns that `work` takes."""
    started = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - started


class Empty:
    """A strategy that does nothing."""

    def on_trade(self, event: object) -> None:
        """Does nothing."""


def floor_ns() -> float:
    """Returns the floor F: ns of one call of an empty bound method from C."""
    method, objects = Empty().on_trade, [object()] * 5000
    return steady(len(objects), lambda: collections.deque(map(method, objects), maxlen=0))


def process(*arguments: str) -> Measure:
    """Measures a whole process of this interpreter, from its start to its end."""
    command = [sys.executable, *arguments]
    return lambda: median(
        lambda: timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    )

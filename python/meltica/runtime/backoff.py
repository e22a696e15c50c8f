"""Restart pauses and restart budgets."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Pauses in seconds that double from `least` to `most`, each up to a fifth shorter or longer.

    None is longer than `most`, jitter included.
    """

    least: float
    most: float
    jitter: Callable[[], float] = random.random
    _pause: float = 0.0

    def next(self) -> float:
        """Returns the next pause."""
        self._pause = min(self.most, self._pause * 2) if self._pause else self.least
        return min(self.most, self._pause * (0.8 + 0.4 * self.jitter()))

    def reset(self) -> None:
        """Restarts the sequence at `least`."""
        self._pause = 0.0


@dataclass
class Budget:
    """At most `count` restarts within any `window` seconds."""

    count: int
    window: float
    clock: Callable[[], float]
    _spent: deque[float] = field(default_factory=deque[float])

    def spend(self) -> bool:
        """Consumes one restart; returns False when the budget is exhausted."""
        now = self.clock()
        while self._spent and now - self._spent[0] > self.window:
            self._spent.popleft()
        if len(self._spent) >= self.count:
            return False
        self._spent.append(now)
        return True


@dataclass(frozen=True)
class RestartPolicy:
    """Time limits, pauses and budget of a supervised component. Times are seconds."""

    start_timeout: float = 30.0
    stop_timeout: float = 5.0
    min_pause: float = 1.0
    """The first pause between restarts; pauses double up to `max_pause`."""
    max_pause: float = 60.0
    restarts: int = 10
    """Restarts within `window` after faults that need a correction, before the component counts as failed."""
    window: float = 600.0

    def backoff(self, jitter: Callable[[], float] = random.random) -> Backoff:
        """Returns a new sequence of pauses between restarts."""
        return Backoff(self.min_pause, self.max_pause, jitter)

    def budget(self, clock: Callable[[], float]) -> Budget:
        """Returns a full budget of restarts."""
        return Budget(self.restarts, self.window, clock)

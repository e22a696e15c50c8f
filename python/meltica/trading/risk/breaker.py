"""Breaches of an instance: what counts, the circuit breaker, and when the kill switch halts."""

from collections import deque
from dataclasses import dataclass, field

from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.risk.limits import Resolved

WINDOW = 600_000_000_000
"""Nanoseconds for which a breach counts."""
SHOWN = 100
"""Breaches that are kept although no limit counts so many."""


@dataclass(slots=True)
class Breaches:
    """The breaches of one instance within the last 10 minutes, and its circuit breaker.

    The breaker and the kill switch are independent. The one with the lower number acts; the kill switch acts
    when both have the same number.
    """

    times: deque[int] = field(default_factory=deque[int])
    closed_at: int = 0
    """When the cooldown of the breaker ends."""
    cooldown: int = 0
    """Length of that cooldown."""

    def is_open(self, now: int) -> bool:
        """Returns whether the breaker pauses orders at `now`."""
        if self.closed_at - now > self.cooldown:
            # The clock was set back: the cooldown restarts instead of growing by that time.
            self.closed_at = now + self.cooldown
        return now < self.closed_at

    def current(self, now: int) -> int:
        """Returns the number of breaches that count at `now`, and forgets the older ones."""
        times = self.times
        if times and times[-1] > now:
            # The clock was set back: earlier breaches count from now on.
            self.times = times = deque(min(time, now) for time in times)
        while times and now - times[0] >= WINDOW:
            times.popleft()
        return len(times)

    def count(self, now: int, limits: Resolved) -> Verdict:
        """Counts a breach."""
        self.current(now)
        times = self.times
        times.append(now)
        if len(times) > max(SHOWN, limits.max_breaches or 0, limits.breaker_threshold or 0):
            times.popleft()
        if limits.kill_switch and limits.max_breaches is not None and len(times) >= limits.max_breaches:
            return Verdict.HALT
        if limits.breaker_threshold is not None and len(times) >= limits.breaker_threshold:
            times.clear()
            self.cooldown = limits.breaker_cooldown_ns
            self.closed_at = now + self.cooldown
            return Verdict.COOLDOWN
        return Verdict.COUNTED

    def reset(self) -> None:
        """Forgets the breaches and closes the breaker."""
        self.times.clear()
        self.closed_at = self.cooldown = 0

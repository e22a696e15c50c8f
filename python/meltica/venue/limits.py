"""The rate limit of each key: a token bucket that holds one second of requests."""

import time
from collections.abc import Callable

from meltica.errors import RateLimited


class RateLimit:
    """Requests per second of each key, and as many at once; 0 disables the limit."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Key -> tokens left, and when they were counted."""

    def spend(self, key: str) -> None:
        """Takes one token of a key. Raises RateLimited, and takes nothing, if none is left."""
        if self.rate == 0:
            return
        now, most = self._clock(), max(self.rate, 1.0)
        left, since = self._buckets.get(key, (most, now))
        left = min(most, left + (now - since) * self.rate)
        if left < 1:
            text = f"expected at most {self.rate:g} requests a second, saw more"
            raise RateLimited("rate_limited", text, (1 - left) / self.rate)
        self._buckets[key] = left - 1, now

"""What the venue counts of requests: the rate limit of each key, and the orders of each client order id."""

import time
from collections import OrderedDict
from collections.abc import Callable

from meltica.errors import RateLimited

KEPT_IDS = 250_000
"""Client order ids whose requests are counted, about 50 MB; the oldest are forgotten."""


class PostCounts:
    """Counts `POST /v1/orders` by client order id, refused ones included."""

    def __init__(self, kept: int = KEPT_IDS) -> None:
        self.total = 0
        self.forgotten = 0
        self._kept = kept
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, client_order_id: str) -> None:
        """Counts one request."""
        self.total += 1
        self._counts[client_order_id] = self._counts.get(client_order_id, 0) + 1
        if len(self._counts) > self._kept:
            self._counts.popitem(last=False)
            self.forgotten += 1

    def of_at_least(self, least: int) -> dict[str, int]:
        """Returns the counts from a number on, oldest client order id first."""
        return {id: count for id, count in self._counts.items() if count >= least}


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

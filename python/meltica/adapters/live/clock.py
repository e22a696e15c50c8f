"""What connections and requests share: the venue's clock, the pace at which it may be asked, where it is."""

import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from meltica.errors import RateLimited


def wall_ms() -> int:
    """Returns the wall clock's time, ms since the epoch."""
    return time.time_ns() // 1_000_000


class VenueClock:
    """The venue's time, as this machine's clock and an offset that is measured."""

    def __init__(self, wall: Callable[[], int] = wall_ms) -> None:
        self.wall = wall
        """This machine's clock, ms."""
        self.offset = 0
        """ms by which the venue is ahead."""

    def now(self) -> int:
        """Returns the venue's time, ms since the epoch."""
        return self.wall() + self.offset

    async def measure(self, ask: Callable[[], Awaitable[int]], times: int = 3) -> None:
        """Asks the venue for its time (ms) and takes the answer that was quickest.

        The venue looked at its clock somewhere between question and answer: half of that time is the most by
        which the offset can be wrong.
        """
        best: tuple[int, int] | None = None
        for _ in range(times):
            before = self.wall()
            told = await ask()
            after = self.wall()
            seen = (after - before, told - (before + after) // 2)
            best = seen if best is None else min(best, seen)
        if best is not None:
            self.offset = best[1]


class TokenBucket:
    """Requests a second, with a burst. Part of it is kept for what cannot wait: orders and cancellations.

    `rate` 0 is no limit. `clock` is in seconds and never steps back.
    """

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        *,
        reserved: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, rate if burst is None else burst)
        self._reserved = self._burst * reserved
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()
        self._closed_until = self._at

    def take(self, weight: float = 1.0, *, urgent: bool = False) -> float:
        """Takes `weight` requests and returns 0; or takes nothing and returns after how many seconds to try
        again.
        """
        now = self._clock()
        if now < self._closed_until:
            return self._closed_until - now
        if not self._rate:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        least = 0.0 if urgent else min(self._reserved, self._burst - weight)
        # What is asked for is more than there ever is: then all of it will do.
        needed = min(weight, self._burst) + max(0.0, least)
        if self._tokens < needed:
            return (needed - self._tokens) / self._rate
        self._tokens -= weight
        return 0.0

    def close(self, seconds: float) -> None:
        """Lets nothing through for so long: the venue said so."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def refuse(self, seconds: float) -> RateLimited:
        """Returns the refusal of a request that would have to wait so long."""
        return RateLimited(
            "rate_limited", f"our own count of the venue's limit: again in {seconds:.3f} s", seconds
        )


def on_loopback(url: str) -> bool:
    """Whether an address is on this machine, where no proxy belongs between."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

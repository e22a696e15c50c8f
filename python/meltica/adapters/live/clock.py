"""The venue's clock, the rate limit of its REST API, and the check for loopback addresses."""

import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from meltica.errors import RateLimited


def wall_ms() -> int:
    """Returns the wall-clock time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class VenueClock:
    """The venue's clock: the local clock plus a measured offset."""

    def __init__(self, wall: Callable[[], int] = wall_ms) -> None:
        self.wall = wall
        """The local clock, in milliseconds."""
        self.offset = 0
        """How far the venue is ahead, in milliseconds."""

    def now(self) -> int:
        """Returns the venue's time, in milliseconds since the epoch."""
        return self.wall() + self.offset

    async def measure(self, fetch_time: Callable[[], Awaitable[int]], times: int = 3) -> None:
        """Requests the venue's time several times and keeps the offset of the fastest response.

        The venue read its clock between the request and the response, so the offset is wrong by half of the
        round trip at most.
        """
        best: tuple[int, int] | None = None
        for _ in range(times):
            before = self.wall()
            venue_time = await fetch_time()
            after = self.wall()
            sample = (after - before, venue_time - (before + after) // 2)
            best = sample if best is None else min(best, sample)
        if best is not None:
            self.offset = best[1]


class TokenBucket:
    """A rate limit with a burst. A part of the burst is reserved for urgent requests: orders and cancels.

    `rate` is in requests a second; 0 switches the limit off. `clock` is monotonic, in seconds.
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
        self._filled_at = clock()
        self._paused_until = self._filled_at

    def take(self, weight: float = 1.0, *, urgent: bool = False) -> float:
        """Takes `weight` requests and returns 0, or takes none and returns the seconds until the next try."""
        now = self._clock()
        if now < self._paused_until:
            return self._paused_until - now
        if not self._rate:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        least = 0.0 if urgent else min(self._reserved, self._burst - weight)
        # A weight above the burst needs a full bucket.
        needed = min(weight, self._burst) + max(0.0, least)
        if self._tokens < needed:
            return (needed - self._tokens) / self._rate
        self._tokens -= weight
        return 0.0

    def pause(self, seconds: float) -> None:
        """Blocks all requests for some time, as the venue demanded."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def refusal(self, seconds: float) -> RateLimited:
        """Returns the error for a request that would have to wait so long."""
        return RateLimited(
            "rate_limited",
            f"request not sent: local rate limit of the venue; retry in {seconds:.3f} s",
            seconds,
        )


def on_loopback(url: str) -> bool:
    """Returns whether an address is on the local machine, which must be reached without a proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

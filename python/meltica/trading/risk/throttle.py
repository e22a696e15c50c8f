"""Throttles of orders: token buckets that refuse and never wait."""

from decimal import ROUND_CEILING, Decimal

_NS = Decimal(1_000_000_000)


class Bucket:
    """A token bucket, kept as the one time at which it is full again.

    It is full when `full_at` is not later than now. Each order moves `full_at` by one interval.
    """

    __slots__ = ("_empty", "_room", "burst", "full_at", "interval")

    def __init__(self, rate: Decimal, burst: int, full_at: int = 0) -> None:
        """Makes a bucket of `burst` tokens that receives `rate` tokens a second."""
        self.burst = burst
        self.interval = int((_NS / rate).to_integral_value(ROUND_CEILING))
        """Nanoseconds in which one token arrives."""
        self.full_at = full_at
        self._empty = burst * self.interval
        self._room = self._empty - self.interval

    def has_token(self, now: int) -> bool:
        """Returns whether an order may leave at `now`."""
        missing = self.full_at - now
        if missing > self._empty:
            # Only a clock that was set back leaves more missing than the bucket holds.
            self.full_at = now + self._empty
        return missing <= self._room

    def available(self, now: int) -> int:
        """Returns how many orders may leave at once."""
        missing = min(max(self.full_at - now, 0), self._empty)
        return (self._empty - missing) // self.interval

    def take(self, now: int) -> None:
        """Takes one token; an empty bucket stays empty, and owes nothing."""
        full_at = self.full_at
        if full_at - now <= self._room:
            self.full_at = (full_at if full_at > now else now) + self.interval
        else:
            self.full_at = now + self._empty

"""Throttles of orders: token buckets that refuse and never wait."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

_NS = Decimal(1_000_000_000)


@dataclass(slots=True)
class Bucket:
    """A token bucket, kept as the one time at which it is full again.

    It is full when `full_at` is not later than now. Each order moves `full_at` by one interval.
    """

    interval: int
    """Nanoseconds in which one token arrives."""
    burst: int
    """Tokens of a full bucket."""
    full_at: int = 0

    def has_token(self, now: int) -> bool:
        """Returns whether an order may leave at `now`."""
        empty = self.burst * self.interval
        if self.full_at - now > empty:
            # Only a clock that was set back leaves more missing than the bucket holds.
            self.full_at = now + empty
        return self.full_at - now <= empty - self.interval

    def take(self, now: int) -> None:
        """Takes one token."""
        self.full_at = max(self.full_at, now) + self.interval


def bucket(rate: Decimal, burst: int, full_at: int = 0) -> Bucket:
    """Makes a bucket that receives `rate` tokens a second."""
    return Bucket(int((_NS / rate).to_integral_value(ROUND_CEILING)), burst, full_at)

"""The clock of trading: it follows the wall clock at the start of the process, then never goes back.

It counts the time for which the machine was suspended or the process stopped, so that the age of an order is
its true age.
"""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
BOOT_TIME = time.time_ns() - time.clock_gettime_ns(_CLOCK)
"""When the machine started, in nanoseconds since the epoch, by the wall clock at the start of the process."""


def now() -> int:
    """Returns nanoseconds since the epoch."""
    return time.clock_gettime_ns(_CLOCK) + BOOT_TIME


def at(wall: int) -> int:
    """Returns the time on this clock of a recent time of the wall clock; never later than now."""
    return now() - max(0, time.time_ns() - wall)

"""The clock of trading: it follows the wall clock at the start of the process, then never goes back.

It counts the time for which the machine was suspended or the process stopped, so that the age of an order is
its true age.
"""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_OFFSET = time.time_ns() - time.clock_gettime_ns(_CLOCK)


def now() -> int:
    """Returns nanoseconds since the epoch."""
    return time.clock_gettime_ns(_CLOCK) + _OFFSET

"""Benchmarks of the core without Python, for `meltica bench`."""

from collections.abc import Sequence
from typing import Literal

from meltica._core import Codec

__all__ = [
    "benchmark",
    "benchmark_beside",
    "benchmark_first_sight",
    "benchmark_frames",
    "benchmark_mix",
    "benchmark_wake",
]

def benchmark(
    name: Literal[
        "pool",
        "pool_contended",
        "publish",
        "publish_book",
        "publish_conflated",
        "publish_spread",
        "unwanted",
        "checksum",
        "order",
        "market",
    ],
    readers: int = 1,
) -> float:
    """Returns the nanoseconds that one operation of the core takes: the median of five runs after a warm-up.

    Raises `ValueError` for an unknown name.
    """

def benchmark_wake(asleep_us: int) -> float:
    """Returns the nanoseconds to publish a trade and wake its only reader, asleep for `asleep_us` microseconds."""

def benchmark_beside(others: int) -> tuple[float, float]:
    """Returns the nanoseconds to publish a trade to one queue, alone and beside `others` queues of other symbols."""

def benchmark_first_sight(symbols: int, readers: int) -> tuple[float, float]:
    """Returns the nanoseconds of the first trades of `symbols` symbols to `readers` wildcard subscribers, in all, and the
    slowest of them as a multiple of the median.
    """

def benchmark_frames(codec: Codec, frames: Sequence[bytes], before: Sequence[bytes] = ...) -> float:
    """Returns the nanoseconds from a frame's bytes to its dispatched event, with books of depth 25.

    `before` is fed first and not measured, to build up the books.
    """

def benchmark_mix() -> list[bytes]:
    """Returns generated frames: two that build up a book, then a mix.

    The mix has 40 % trades, 20 % book tickers, 20 % day tickers and 20 % book diffs.
    """

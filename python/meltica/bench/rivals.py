"""Benchmarks of the standard library's means for the same steps."""

import asyncio
import collections
import statistics
import time

from meltica.bench.timing import median, medians, steady


def asyncio_latency() -> float:
    """Returns the ns from `call_soon_threadsafe` on a thread to the callback: the p50 at 2,000 calls/s."""

    async def calls(n: int) -> float:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        late: list[int] = []

        def arrived(sent: int) -> None:
            late.append(time.perf_counter_ns() - sent)
            if len(late) == n:
                done.set()

        def send() -> None:
            due = time.perf_counter()
            for _ in range(n):
                due += 1 / 2000
                time.sleep(max(0.0, due - time.perf_counter()))
                loop.call_soon_threadsafe(arrived, time.perf_counter_ns())

        await asyncio.gather(loop.run_in_executor(None, send), done.wait())
        return statistics.median(late)

    return median(lambda: asyncio.run(calls(400)))


def asyncio_queue() -> float:
    """Returns the ns to put and get an item."""

    async def pieces(n: int) -> list[float]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        figures: list[float] = []
        for _ in range(50):
            started = time.perf_counter_ns()
            for i in range(n):
                queue.put_nowait(i)
                await queue.get()
            figures.append((time.perf_counter_ns() - started) / n)
        return figures

    return statistics.median(medians(lambda: asyncio.run(pieces(400))))


def deque() -> float:
    """Returns the ns to append and pop an item."""
    queue = collections.deque[int]()

    def piece() -> None:
        for i in range(4000):
            queue.append(i)
            queue.popleft()

    return steady(4000, piece)

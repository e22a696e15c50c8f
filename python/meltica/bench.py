"""What each step of an event's path costs on this machine, beside the floor F and plain rivals.

F is one call of an empty bound method from C. Every figure is the median of five runs after a warm-up.
"""

import asyncio
import collections
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from meltica import _core, sample
from meltica.providers.binance.codec import BINANCE
from meltica.providers.replay.files import Recording

RUNS = 5


def _median(work: Callable[[], float]) -> float:
    work()
    return statistics.median(work() for _ in range(RUNS))


class _Empty:
    def on_trade(self, event: object) -> None:
        """Does nothing."""


def _floor() -> float:
    method, n = _Empty().on_trade, 200_000
    objects = [object()] * n

    def once() -> float:
        started = time.perf_counter_ns()
        collections.deque(map(method, objects), maxlen=0)
        return (time.perf_counter_ns() - started) / n

    return _median(once)


def _trade(n: int) -> bytes:
    return b'{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"61837.63","q":"0.02","T":1,"m":true}' % n


def _callbacks(mode: str, instances: int) -> float:
    """Ns a callback takes when the queue is full: object, call and statistics included."""
    n, next_id = 40_000, 0
    core = _core.Core()
    producer = core.producer("bench", _core.Codec(BINANCE))
    gate = threading.Event()
    shared = core.host("shared") if mode == "shared" else None
    hosts: list[_core.Host] = []
    for number in range(instances):
        host = shared or core.host("thread")
        hosts.append(host)
        callbacks: dict[str, Callable[[Any], object]] = {"Trade": _Empty().on_trade}
        if number == 0 or mode == "thread":
            callbacks["Ticker"] = lambda _event: gate.wait()
        host.add(
            f"bench-{number}",
            callbacks=callbacks,
            routes=[("bench", "Trade", "BTC-USDT"), ("bench", "Ticker", "BTC-USDT")],
            policies={"Ticker": "drop_oldest"},
            capacity=1 << 16,
        ).start()

    def once() -> float:
        nonlocal next_id
        gate.clear()
        producer.publish("Ticker", "BTC-USDT", {"bidPrice": "1", "askPrice": "2"})
        for _ in range(n):
            next_id += 1
            producer.feed(_trade(next_id), 1)
        started = time.perf_counter_ns()
        gate.set()
        producer.drain()
        return (time.perf_counter_ns() - started) / n / instances

    result = _median(once)
    for host in set(hosts):
        host.stop()
    return result


def _frames(lines: Iterable[bytes]) -> list[bytes]:
    return [line.rstrip().split(b" ", 1)[1] for line in lines]


def _orjson(frames: list[bytes]) -> float:
    def once() -> float:
        started = time.perf_counter_ns()
        collections.deque(map(orjson.loads, frames), maxlen=0)
        return (time.perf_counter_ns() - started) / len(frames)

    return _median(once)


def _asyncio_queue() -> float:
    async def passes(n: int) -> float:
        queue: asyncio.Queue[int] = asyncio.Queue()
        started = time.perf_counter_ns()
        for i in range(n):
            queue.put_nowait(i)
            await queue.get()
        return (time.perf_counter_ns() - started) / n

    return _median(lambda: asyncio.run(passes(20_000)))


def run(session: Path | None = None, progress: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Measures; returns `{"floor_ns", "rows": [{"name", "ns", "ratio", "budget_ns"|"budget_ratio", "ok"}]}`.

    `session` is a recording of Binance frames to measure too. A row without a budget is a rival.
    """
    floor = _floor()
    rows: list[dict[str, Any]] = []

    def row(name: str, ns: float, budget_ns: float | None = None, budget_ratio: float | None = None) -> None:
        entry: dict[str, Any] = {"name": name, "ns": round(ns, 1), "ratio": round(ns / floor, 2)}
        if budget_ns is not None:
            entry |= {"budget_ns": budget_ns, "ok": ns <= budget_ns}
        elif budget_ratio is not None:
            entry |= {"budget_ratio": budget_ratio, "ok": ns / floor <= budget_ratio}
        rows.append(entry)
        if progress:
            progress(name)

    codec = _core.Codec(BINANCE)
    row("pool: borrow, fill, share, release", _core.benchmark("pool"), 25)
    row("pool: the same, two threads contending", _core.benchmark("pool_contended"), 80)
    for readers, budget in ((1, 100), (8, 250), (64, 1500)):
        name = f"publish a trade to {readers} full queue{'s' * (readers > 1)}"
        row(name, _core.benchmark("publish", readers), budget)
    row("an event nobody wants", _core.benchmark("unwanted"), 30)
    frames = _frames(sample.lines())
    row("frame -> event, sample", _core.benchmark_frames(codec, frames), 600)
    row("rival: orjson.loads of the sample's frames", _orjson(frames))
    if session is not None:
        with contextlib.closing(Recording(session)) as recording:
            frames = _frames(recording.lines())
        row("frame -> event, session", _core.benchmark_frames(codec, frames), 500)
        row("rival: orjson.loads of the session's frames", _orjson(frames))
    row("event -> 1 callback, batch 256", _callbacks("thread", 1), budget_ratio=3)
    row("event -> 16 callbacks, each, shared host", _callbacks("shared", 16), budget_ratio=1.3)
    row("event -> 16 callbacks, each, thread hosts", _callbacks("thread", 16), budget_ratio=12)
    row("rival: asyncio.Queue, put and get", _asyncio_queue())
    return {"floor_ns": round(floor, 1), "rows": rows}

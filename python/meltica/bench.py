"""What each step of an event's path costs on this machine, beside the floor F and plain rivals.

F is one call of an empty bound method from C. Every figure is the median of five runs after a warm-up.
"""

import asyncio
import collections
import contextlib
import io
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from meltica import _core
from meltica.errors import ReplayError
from meltica.providers.binance.codec import BINANCE
from meltica.providers.replay.files import Recording

RUNS = 5

Measure = Callable[[], float]
Mode = Literal["thread", "shared"]


@dataclass(frozen=True)
class Row:
    """One line of the table. Without a budget it is a rival, or there to compare with."""

    name: str
    measure: Callable[[], float | tuple[float, float]]
    """Returns ns, or ns and the budget that follows from what was measured beside it."""
    budget_ns: float | None = None
    budget_ratio: float | None = None


def run(rows: list[Row], progress: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Returns `{"floor_ns", "rows": [{"name", "ns", "ratio", "budget_ns" or "budget_ratio", "ok"}]}`."""
    _floor()
    floors = [_floor() for _ in range(RUNS)]
    measured: list[tuple[Row, float, float | None]] = []
    for row in rows:
        if progress:
            progress(row.name)
        # A shared machine is not the same all the time: the floor is taken all along.
        floors.append(_floor())
        figure = row.measure()
        ns, budget_ns = figure if isinstance(figure, tuple) else (figure, row.budget_ns)
        measured.append((row, ns, budget_ns))
    floor = statistics.median(floors)
    return {"floor_ns": round(floor, 1), "rows": [_entry(*each, floor) for each in measured]}


def _entry(row: Row, ns: float, budget_ns: float | None, floor: float) -> dict[str, Any]:
    ns, ratio = round(ns, 1), round(ns / floor, 2)
    entry: dict[str, Any] = {"name": row.name, "ns": ns, "ratio": ratio}
    if budget_ns is not None:
        budget_ns = round(budget_ns, 1)
        entry |= {"budget_ns": budget_ns, "ok": ns <= budget_ns}
    elif row.budget_ratio is not None:
        entry |= {"budget_ratio": row.budget_ratio, "ok": ratio <= row.budget_ratio}
    return entry


def rows(session: Path | None = None, only: str = "") -> list[Row]:
    """Returns what can be measured and has `only` in its name.

    `session` is a recording of Binance frames to measure too. Raises ReplayError when it is none.
    """
    mix = Frames("the mix", _core.benchmark_mix())
    recorded = None if session is None else Frames.recorded(session)
    known = [*_core_rows(), *_mix_rows(mix)]
    if recorded is not None:
        known += _session_rows(recorded)
    known += [*_depth_rows(recorded or mix), *_callback_rows(), *_latency_rows(), *_start_up_rows()]
    return [row for row in known if only.casefold() in row.name.casefold()]


def _core_rows() -> Iterator[Row]:
    def core(name: Any, readers: int = 1) -> Measure:
        return lambda: _core.benchmark(name, readers)

    def beside() -> tuple[float, float]:
        alone, among = _core.benchmark_beside(64)
        return among, alone * 1.02

    yield Row("pool: borrow, fill, share, release", core("pool"), 25)
    yield Row("pool: the same, two threads contending", _contended, 80)
    yield Row("publish a trade to 1 full queue", core("publish"), 100)
    yield Row("publish a trade to 8 full queues", core("publish", 8), 250)
    yield Row("publish a trade to 64 full queues", core("publish", 64), 1500)
    yield Row("publish a trade to 1 full queue, beside 64 instances on other symbols", beside)
    for us in (5, 500):
        name = f"publish a trade and wake its one reader, parked for {us} us"
        yield Row(name, lambda us=us: _core.benchmark_wake(us), 3000)
    yield Row("publish a book of 1000 + 1000 levels to 64 queues, one copy", core("publish_book", 64), 2500)
    yield Row("an event nobody wants", core("unwanted"), 30)


def _mix_rows(mix: "Frames") -> Iterator[Row]:
    name = "40 % trade, 20 % bookTicker, 20 % 24hrTicker, 20 % depth 10 + 10; book of depth 25"
    yield Row(f"frame -> event, mix: {name}", mix.decoded, 600)
    yield Row("rival: orjson.loads of the mix's frames", mix.loaded)


def _session_rows(session: "Frames") -> Iterator[Row]:
    yield Row("frame -> event, session; book of depth 25", session.decoded, 500)
    yield Row("rival: orjson.loads of the session's frames", session.loaded)


def _depth_rows(frames: "Frames") -> Iterator[Row]:
    name = f"depth, per level, diffs of {frames.name}: parse, book, its top 25 published"
    yield Row(name, frames.depth, 50)
    yield Row("rival: orjson, dict, sorted, per level", frames.python_depth)


def _callback_rows() -> Iterator[Row]:
    yield Row("event -> 1 callback, thread host, batch 256", lambda: _callbacks("thread", 1), budget_ratio=3)
    name = "event -> 16 callbacks, each, shared host, batch 256"
    yield Row(name, lambda: _callbacks("shared", 16), budget_ratio=1.3)
    name = "event -> 16 callbacks, each, 16 thread hosts, batch 256"
    yield Row(name, lambda: _callbacks("thread", 16), budget_ratio=12)
    yield Row("rival: asyncio.Queue, put and get", _asyncio_queue)
    yield Row("rival: collections.deque, append and popleft", _deque)


def _latency_rows() -> Iterator[Row]:
    name = "dispatch -> callback at 2,000/s, p50"
    yield Row(f"{name}: 1 instance, thread host", lambda: _latency("thread", 1), 5_000)
    yield Row(f"{name}: 16 instances, shared host", lambda: _latency("shared", 16), 5_000)
    yield Row(f"{name}: 16 instances, thread hosts", lambda: _latency("thread", 16), 60_000)
    yield Row("rival: asyncio call_soon_threadsafe at 2,000/s, p50", _asyncio_latency)


def _start_up_rows() -> Iterator[Row]:
    library = Path(__file__).parent / "lambdas" / "library"
    lambda_file = (
        "import sys; from meltica.lambdas import config, loader; "
        "config.load_config(loader.load(sys.argv[1]).Config, {})"
    )
    yield Row("whole process: python -c pass", _process("-c", "pass"))
    yield Row("whole process: import meltica", _process("-c", "import meltica"), 100e6)
    loaded = _process("-c", lambda_file, str(library / "large_trades.py"))
    yield Row("whole process: a lambda file and its Config", loaded, 250e6)
    yield Row("whole process: meltica --help", _process("-m", "meltica", "--help"), 200e6)


def _median(work: Callable[[], float]) -> float:
    work()
    return statistics.median(work() for _ in range(RUNS))


def _contended() -> float:
    """Ns while two threads contend; tried again where they took turns on one processor instead."""
    best = (0.0, 0.0)
    for _ in range(10):
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        figure = _core.benchmark("pool_contended")
        overlap = (time.process_time_ns() - cpu) / (time.perf_counter_ns() - wall)
        best = max(best, (overlap, figure))
        if overlap > 1.7:
            break
    return best[1]


class _Empty:
    def on_trade(self, event: object) -> None:
        """Does nothing."""


def _floor() -> float:
    method, n = _Empty().on_trade, 200_000
    objects = [object()] * n
    started = time.perf_counter_ns()
    collections.deque(map(method, objects), maxlen=0)
    return (time.perf_counter_ns() - started) / n


class Frames:
    """Frames to measure, after those that bring the first book up."""

    def __init__(self, name: str, frames: list[bytes]) -> None:
        start = next((i + 1 for i, frame in enumerate(frames) if _SNAPSHOT in frame), len(frames))
        self.name = name
        self.before, self.frames = frames[:start], frames[start:]
        self.books = [frame for frame in self.frames if b'"depthUpdate"' in frame or _SNAPSHOT in frame]

    @classmethod
    def recorded(cls, path: Path) -> "Frames":
        """Reads a recording. Raises ReplayError."""
        with contextlib.closing(Recording(path)) as recording:
            if recording.form == "frames":
                frames = [line.partition(b" ")[2] for line in recording.lines()]
                session = cls("the session", frames)
                if session.books:
                    return session
        raise ReplayError(f"{path}: expected frames of Binance, with a depth snapshot and diffs after it")

    def decoded(self) -> float:
        """Returns ns a frame takes to dispatched events."""
        return _core.benchmark_frames(_core.Codec(BINANCE), self.frames, self.before)

    def loaded(self) -> float:
        """Returns ns a frame takes to Python objects, by orjson."""

        def once() -> float:
            started = time.perf_counter_ns()
            collections.deque(map(orjson.loads, self.frames), maxlen=0)
            return (time.perf_counter_ns() - started) / len(self.frames)

        return _median(once)

    def depth(self) -> float:
        """Returns ns a level takes to dispatched books."""
        ns = _core.benchmark_frames(_core.Codec(BINANCE), self.books, self.before)
        return ns * len(self.books) / sum(len(bids) + len(asks) for bids, asks in map(_sides, self.books))

    def python_depth(self) -> float:
        """Returns ns a level takes to the sorted top of a book in plain Python: dicts of floats."""
        frames = self.books[:500]
        levels = sum(len(bids) + len(asks) for bids, asks in map(_sides, frames))

        def once() -> float:
            book = [{float(p): float(q) for p, q in side} for side in _sides(self.before[-1])]
            started = time.perf_counter_ns()
            for frame in frames:
                for side, changes in zip(book, _sides(frame), strict=True):
                    for price, quantity in changes:
                        side[float(price)] = float(quantity)
                        if side[float(price)] == 0:
                            del side[float(price)]
                _top = sorted(book[0].items(), reverse=True)[:25], sorted(book[1].items())[:25]
            return (time.perf_counter_ns() - started) / levels

        return _median(once)


_SNAPSHOT = b'"lastUpdateId"'


def _sides(frame: bytes) -> tuple[list[list[str]], list[list[str]]]:
    message = orjson.loads(frame)
    data = message.get("data", message)
    return (data["bids"], data["asks"]) if "bids" in data else (data["b"], data["a"])


def _trade(n: int) -> bytes:
    return b'{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"61837.63","q":"0.02","T":1,"m":true}' % n


class _Plane:
    """A data plane with instances that want trades and tickers of one symbol."""

    def __init__(self, mode: Mode, instances: int, on_ticker: Callable[[Any], object] | None = None) -> None:
        core = _core.Core()
        self.producer = core.producer("bench", _core.Codec(BINANCE))
        shared = core.host("shared") if mode == "shared" else None
        self.hosts = [shared] if shared else [core.host("thread") for _ in range(instances)]
        self.instances: list[_core.Instance] = []
        for number in range(instances):
            callbacks: dict[str, Callable[[Any], object]] = {"Trade": _Empty().on_trade}
            # In a shared host the first instance sees each ticker, before all others see what follows it.
            if on_ticker and (number == 0 or not shared):
                callbacks["Ticker"] = on_ticker
            instance = (shared or self.hosts[number]).add(
                f"bench-{number}",
                callbacks=callbacks,
                routes=[("bench", "Trade", "BTC-USDT"), ("bench", "Ticker", "BTC-USDT")],
                policies={"Ticker": "drop_oldest"},
            )
            instance.start()
            self.instances.append(instance)

    def lost(self) -> bool:
        """Whether an event was dropped."""
        return any(instance.stats()["dropped"] for instance in self.instances)

    def stop(self) -> None:
        """Ends the hosts."""
        for host in self.hosts:
            host.stop()


def _callbacks(mode: Mode, instances: int) -> float:
    """Ns a callback takes while the queue is full: object, call and statistics included.

    A ticker holds each host until a burst that just fits the queues stands behind it; the burst is timed from
    there to the ticker that ends it, on the hosts' own threads.
    """
    burst, bursts, trade = 1000, 20, 0
    gate = threading.Event()
    times: list[int] = []

    def on_ticker(ticker: _core.Ticker) -> None:
        if ticker.bid == 1:
            gate.wait()
        times.append(time.perf_counter_ns())

    plane = _Plane(mode, instances, on_ticker)

    def ticker(bid: int) -> None:
        plane.producer.publish("Ticker", "BTC-USDT", {"bidPrice": str(bid), "askPrice": "9"})

    def one() -> int:
        nonlocal trade
        gate.clear()
        times.clear()
        ticker(1)
        for _ in range(burst):
            trade += 1
            plane.producer.feed(_trade(trade), 1)
        ticker(2)
        gate.set()
        plane.producer.drain()
        return max(times) - min(times)

    figure = _median(lambda: sum(one() for _ in range(bursts)) / (bursts * burst * instances))
    lost = plane.lost()
    plane.stop()
    if lost:
        raise RuntimeError("the burst did not fit the queues: the figure would leave out what was dropped")
    return figure


def _latency(mode: Mode, instances: int) -> float:
    """Ns from dispatch to callback at 2,000 events a second: the p50 by the instances' own statistics."""
    lines = b"".join(b"%d %b\n" % (n * 500_000, _trade(n)) for n in range(1, 401))

    def once() -> float:
        plane = _Plane(mode, instances)
        plane.producer.replay([io.BytesIO(lines)], speed=1.0)
        plane.producer.drain()
        p50 = statistics.median(instance.stats()["latency_ns"]["p50"] for instance in plane.instances)
        plane.stop()
        return p50

    return _median(once)


def _asyncio_latency() -> float:
    """Ns from another thread's `call_soon_threadsafe` to the loop's callback, p50 at 2,000 calls a second."""

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

    return _median(lambda: asyncio.run(calls(400)))


def _asyncio_queue() -> float:
    async def passes(n: int) -> float:
        queue: asyncio.Queue[int] = asyncio.Queue()
        started = time.perf_counter_ns()
        for i in range(n):
            queue.put_nowait(i)
            await queue.get()
        return (time.perf_counter_ns() - started) / n

    return _median(lambda: asyncio.run(passes(20_000)))


def _deque() -> float:
    def once() -> float:
        queue, n = collections.deque[int](), 200_000
        started = time.perf_counter_ns()
        for i in range(n):
            queue.append(i)
            queue.popleft()
        return (time.perf_counter_ns() - started) / n

    return _median(once)


def _process(*arguments: str) -> Measure:
    def once() -> float:
        started = time.perf_counter_ns()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter_ns() - started

    return lambda: _median(once)

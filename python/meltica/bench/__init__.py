"""What each step of an event's path costs on this machine, beside the floor F and plain rivals.

F is one call of an empty bound method from C.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from meltica import _core
from meltica.bench.frames import Frames
from meltica.bench.gateway import measure
from meltica.bench.hosts import callbacks, latency
from meltica.bench.rivals import asyncio_latency, asyncio_queue, deque
from meltica.bench.timing import Measure, floor_ns, process


@dataclass(frozen=True)
class Row:
    """One line of the table. Without a budget it is a rival, or there to compare with."""

    name: str
    measure: Callable[[], float | tuple[float, float]]
    """Returns ns, or ns and the budget that follows from what was measured beside it."""
    budget_ns: float | None = None
    budget_ratio: float | None = None
    budget_mib: float | None = None
    """Given, the row is one of memory: `measure` returns MiB."""


def run(rows: list[Row], progress: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Returns `{"floor_ns", "rows": [{"name", "ns", "ratio", "budget_ns" or "budget_ratio", "ok"}]}`.

    A row of memory has `mib` and `budget_mib` in place of times.
    """
    floors = [floor_ns()]
    measured: list[tuple[Row, float, float | None]] = []
    for row in rows:
        if progress:
            progress(row.name)
        # A shared machine is not the same all the time: the floor is taken all along.
        floors.append(floor_ns())
        figure = row.measure()
        ns, budget_ns = figure if isinstance(figure, tuple) else (figure, row.budget_ns)
        measured.append((row, ns, budget_ns))
    floor = statistics.median(floors)
    return {"floor_ns": round(floor, 1), "rows": [_entry(*each, floor) for each in measured]}


def _entry(row: Row, ns: float, budget_ns: float | None, floor: float) -> dict[str, Any]:
    if row.budget_mib is not None:
        mib = round(ns, 1)
        return {"name": row.name, "mib": mib, "budget_mib": row.budget_mib, "ok": mib <= row.budget_mib}
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
    known += [*_depth_rows(recorded or mix), *_callback_rows(), *_latency_rows(), *_venue_rows()]
    known += [*_start_up_rows(), *_gateway_rows()]
    return [row for row in known if only.casefold() in row.name.casefold()]


def _core_rows() -> Iterator[Row]:
    def core(name: Any, readers: int = 1) -> Measure:
        return lambda: _core.benchmark(name, readers)

    def beside() -> tuple[float, float]:
        alone, among = _core.benchmark_beside(64)
        return among, alone * 1.02

    yield Row("pool: borrow, fill, share, release", core("pool"), 25)
    yield Row("pool: the same, two threads contending", core("pool_contended"), 80)
    yield Row("publish a trade to 1 full queue", core("publish"), 100)
    yield Row("publish a trade to 8 full queues", core("publish", 8), 250)
    yield Row("publish a trade to 64 full queues", core("publish", 64), 1500)
    yield Row("publish a trade to 1 full queue, beside 64 instances on other symbols", beside)
    for us in (5, 500):
        name = f"publish a trade and wake its one reader, parked for {us} us"
        yield Row(name, lambda us=us: _core.benchmark_wake(us), 3000)
    yield Row("publish a book of 1000 + 1000 levels to 64 queues, one copy", core("publish_book", 64), 2500)
    yield Row("an event without a subscriber", core("unwanted"), 30)


def _mix_rows(mix: Frames) -> Iterator[Row]:
    name = "40 % trade, 20 % bookTicker, 20 % 24hrTicker, 20 % depth 10 + 10; book of depth 25"
    yield Row(f"frame -> event, mix: {name}", mix.decoded, 600)
    yield Row("rival: orjson.loads of the mix's frames", mix.loaded)


def _session_rows(session: Frames) -> Iterator[Row]:
    yield Row("frame -> event, session; book of depth 25", session.decoded, 500)
    yield Row("rival: orjson.loads of the session's frames", session.loaded)


def _depth_rows(frames: Frames) -> Iterator[Row]:
    name = f"depth, per level, diffs of {frames.name}: parse, book, its top 25 published"
    yield Row(name, frames.depth, 50)
    yield Row("rival: orjson, dict, sorted, per level", frames.python_depth)


def _callback_rows() -> Iterator[Row]:
    yield Row("event -> 1 callback, thread host, batch 256", lambda: callbacks("thread", 1), budget_ratio=3)
    name = "event -> 16 callbacks, each, shared host, batch 256"
    yield Row(name, lambda: callbacks("shared", 16), budget_ratio=1.3)
    name = "event -> 16 callbacks, each, 16 thread hosts, batch 256"
    yield Row(name, lambda: callbacks("thread", 16), budget_ratio=12)
    yield Row("rival: asyncio.Queue, put and get", asyncio_queue)
    yield Row("rival: collections.deque, append and popleft", deque)


def _latency_rows() -> Iterator[Row]:
    name = "dispatch -> callback at 2,000/s, p50"
    yield Row(f"{name}: 1 instance, thread host", lambda: latency("thread", 1), 5_000)
    yield Row(f"{name}: 16 instances, shared host", lambda: latency("shared", 16), 5_000)
    yield Row(f"{name}: 16 instances, thread hosts", lambda: latency("thread", 16), 60_000)
    yield Row("rival: asyncio call_soon_threadsafe at 2,000/s, p50", asyncio_latency)


def _venue_rows() -> Iterator[Row]:
    name = "an order on a book 1,000 levels deep: 45 % limits, 40 % cancellations, 15 % takers"
    yield Row(name, lambda: _core.benchmark("order"), 500)
    name = "an event of a synthetic market of 10 symbols, into a queue: trade, ticker, book of 25"
    yield Row(name, lambda: _core.benchmark("market"), 1000)


def _gateway_rows() -> Iterator[Row]:
    cost = cache(measure)
    yield Row("meltica serve until events flow, first start", lambda: cost().first_start * 1e9, 15e9)
    yield Row("meltica serve until events flow, second start", lambda: cost().second_start * 1e9, 3e9)
    yield Row("meltica serve, idle, without PostgreSQL", lambda: cost().idle_rss, budget_mib=90)


def _start_up_rows() -> Iterator[Row]:
    shipped = Path(__file__).parents[1] / "strategies"
    lambda_file = (
        "import sys; from meltica.lambdas import config, loader; "
        "config.load_config(loader.load(sys.argv[1]).Config, {})"
    )
    yield Row("whole process: python -c pass", process("-c", "pass"))
    yield Row("whole process: import meltica", process("-c", "import meltica"), 100e6)
    loaded = process("-c", lambda_file, str(shipped / "large_trades.py"))
    yield Row("whole process: a lambda file and its Config", loaded, 250e6)
    yield Row("whole process: meltica --help", process("-m", "meltica", "--help"), 200e6)

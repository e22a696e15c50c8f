"""Benchmarks of each step of an event's path, compared with the floor F and with plain Python alternatives.

F is the cost of one call of an empty bound method from C.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from meltica import _core
from meltica.bench.frames import Frames
from meltica.bench.gateway import measure
from meltica.bench.hosts import callbacks, latency, replay
from meltica.bench.memory import bytes_per
from meltica.bench.rivals import asyncio_latency, asyncio_queue, deque
from meltica.bench.timing import Measure, floor_ns, process
from meltica.bench.trading import approve, buy, load, reconcile, report
from meltica.bench.venues import FORMATS, VenueFrames


@dataclass(frozen=True)
class Benchmark:
    """One row of the table; a row without a budget is only for comparison."""

    name: str
    measure: Callable[[], float | tuple[float, float]]
    """Returns ns, or ns and a budget that was derived from a reference measurement."""
    budget_ns: float | None = None
    budget_ratio: float | None = None
    unit: str | None = None
    """If set, `measure` returns a figure in this unit, not a time."""
    budget: float | None = None
    """A budget in `unit`."""


def run(rows: list[Benchmark], progress: Callable[[str], object] | None = None) -> dict[str, Any]:
    """Returns `{"floor_ns", "rows": [{"name", "ns", "ratio", "budget_ns" or "budget_ratio", "ok"}]}`.

    A row that does not measure a time has `value`, `unit` and `budget` instead.
    """
    floors = [floor_ns()]
    measured: list[tuple[Benchmark, float, float | None]] = []
    for row in rows:
        if progress:
            progress(row.name)
        # The speed of a shared machine varies, so the floor is measured again for each row.
        floors.append(floor_ns())
        figure = row.measure()
        ns, budget_ns = figure if isinstance(figure, tuple) else (figure, row.budget_ns)
        measured.append((row, ns, budget_ns))
    floor = statistics.median(floors)
    return {"floor_ns": round(floor, 1), "rows": [_entry(*each, floor) for each in measured]}


def _entry(row: Benchmark, ns: float, budget_ns: float | None, floor: float) -> dict[str, Any]:
    if row.unit is not None:
        value: dict[str, Any] = {"name": row.name, "value": round(ns, 1), "unit": row.unit}
        return (
            value
            if row.budget is None
            else value | {"budget": row.budget, "ok": value["value"] <= row.budget}
        )
    ns, ratio = round(ns, 1), round(ns / floor, 2)
    entry = {"name": row.name, "ns": ns, "ratio": ratio}
    if budget_ns is not None:
        budget_ns = round(budget_ns, 1)
        entry |= {"budget_ns": budget_ns, "ok": ns <= budget_ns}
    elif row.budget_ratio is not None:
        entry |= {"budget_ratio": row.budget_ratio, "ok": ratio <= row.budget_ratio}
    return entry


def rows(session: Path | None = None, only: str = "") -> list[Benchmark]:
    """Returns the benchmarks whose name contains `only`.

    `session` is a recording of Binance frames to measure as well. Raises ReplayError for any other file.
    """
    mix = Frames("the mix", _core.benchmark_mix())
    recorded = None if session is None else Frames.recorded(session)
    every = [*_core_rows(), *_mix_rows(mix)]
    if recorded is not None:
        every += _session_rows(recorded)
    every += [
        *_depth_rows(recorded or mix),
        *_venue_frame_rows(),
        *_callback_rows(),
        *_latency_rows(),
        *_venue_rows(),
    ]
    every += [*_trading_rows(), *_start_up_rows(), *_gateway_rows()]
    return [row for row in every if only.casefold() in row.name.casefold()]


def _core_rows() -> Iterator[Benchmark]:
    def core(name: Any, readers: int = 1) -> Measure:
        return lambda: _core.benchmark(name, readers)

    def beside() -> tuple[float, float]:
        alone, among = _core.benchmark_beside(64)
        return among, alone * 1.02

    yield Benchmark("pool: borrow, fill, share, release", core("pool"), 25)
    yield Benchmark("pool: the same, two threads contending", core("pool_contended"), 80)
    yield Benchmark("publish a trade to 1 full queue", core("publish"), 100)
    yield Benchmark("publish a trade to 8 full queues", core("publish", 8), 250)
    yield Benchmark("publish a trade to 64 full queues", core("publish", 64), 1500)
    yield Benchmark("publish a trade to 1 full queue, beside 64 instances on other symbols", beside)
    for us in (5, 500):
        name = f"publish a trade and wake its one reader, parked for {us} us"
        yield Benchmark(name, lambda us=us: _core.benchmark_wake(us), 3000)
    yield Benchmark(
        "publish a book of 1000 + 1000 levels to 64 queues, one copy", core("publish_book", 64), 2500
    )
    name = "publish a ticker to 16 queues that conflate 1,000 symbols each"
    yield Benchmark(name, core("publish_conflated", 16))
    name = "publish a trade to its 25 of 500 full queues, 20 symbols"
    yield Benchmark(name, core("publish_spread", 500))
    yield Benchmark("an event without a subscriber", core("unwanted"), 30)
    first = cache(lambda: _core.benchmark_first_sight(10_000, 16))
    name = "first sight of 10,000 symbols under * with 16 subscribers"
    yield Benchmark(f"{name}: in all", lambda: first()[0])
    yield Benchmark(f"{name}: slowest / median", lambda: first()[1], unit="times")


def _mix_rows(mix: Frames) -> Iterator[Benchmark]:
    name = "40 % trade, 20 % bookTicker, 20 % 24hrTicker, 20 % depth 10 + 10; book of depth 25"
    yield Benchmark(f"frame -> event, mix: {name}", mix.decoded, 600)
    yield Benchmark("rival: orjson.loads of the mix's frames", mix.loaded)


def _session_rows(session: Frames) -> Iterator[Benchmark]:
    yield Benchmark("frame -> event, session; book of depth 25", session.decoded, 500)
    yield Benchmark("rival: orjson.loads of the session's frames", session.loaded)


def _depth_rows(frames: Frames) -> Iterator[Benchmark]:
    name = f"depth, per level, diffs of {frames.name}: parse, book, its top 25 published"
    yield Benchmark(name, frames.depth, 50)
    yield Benchmark("rival: orjson, dict, sorted, per level", frames.python_depth)


def _venue_frame_rows() -> Iterator[Benchmark]:
    for venue in FORMATS:
        frames = cache(partial(VenueFrames, venue))
        name = f"{venue}: frame -> event, 2/3 diffs of 10 + 10 levels, 1/3 trades; orjson.loads is the budget"
        yield Benchmark(name, lambda frames=frames: frames().decoded())
        yield Benchmark(f"{venue}: diffs, per level", lambda frames=frames: frames().depth())
        yield Benchmark(
            f"rival: orjson.loads of these frames of {venue}", lambda frames=frames: frames().loaded()
        )
        name = f"rival: orjson, dict, sorted, per frame of {venue}"
        yield Benchmark(name, lambda frames=frames: frames().python())
    name = "the checksum of a book's best 10 + 10 levels, without decoding"
    yield Benchmark(name, lambda: _core.benchmark("checksum"), 300)


def _callback_rows() -> Iterator[Benchmark]:
    yield Benchmark(
        "event -> 1 callback, thread host, batch 256", lambda: callbacks("thread", 1), budget_ratio=3
    )
    name = "event -> 16 callbacks, each, shared host, batch 256"
    yield Benchmark(name, lambda: callbacks("shared", 16), budget_ratio=1.3)
    name = "event -> 16 callbacks, each, 16 thread hosts, batch 256"
    yield Benchmark(name, lambda: callbacks("thread", 16), budget_ratio=12)
    name = "replay of recorded trades into an empty callback, shared host, CPU an event on all threads"
    yield Benchmark(name, replay, 600)
    yield Benchmark("rival: asyncio.Queue, put and get", asyncio_queue)
    yield Benchmark("rival: collections.deque, append and popleft", deque)


def _latency_rows() -> Iterator[Benchmark]:
    name = "dispatch -> callback at 2,000/s, p50"
    yield Benchmark(f"{name}: 1 instance, thread host", lambda: latency("thread", 1), 5_000)
    yield Benchmark(f"{name}: 16 instances, shared host", lambda: latency("shared", 16), 5_000)
    yield Benchmark(f"{name}: 16 instances, thread hosts", lambda: latency("thread", 16), 60_000)
    yield Benchmark("rival: asyncio call_soon_threadsafe at 2,000/s, p50", asyncio_latency)


def _venue_rows() -> Iterator[Benchmark]:
    name = "an order on a book 1,000 levels deep: 45 % limits, 40 % cancellations, 15 % takers"
    yield Benchmark(name, lambda: _core.benchmark("order"), 500)
    name = "an event of a synthetic market of 10 symbols, into a queue: trade, ticker, book of 25"
    yield Benchmark(name, lambda: _core.benchmark("market"), 1000)


def _trading_rows() -> Iterator[Benchmark]:
    yield Benchmark("buy() with every limit of risk, CPU of its thread", buy, 15_000)
    yield Benchmark("risk: approve an order, CPU of its thread", approve, 10_000)
    yield Benchmark("report of a fill -> callback, CPU on all threads", report)
    for rate in (100, 1000):
        at, run = f"at {rate:,}/s, embedded PostgreSQL, account in this process", cache(partial(load, rate))
        yield Benchmark(f"buy() -> committed -> venue, p50 {at}", lambda run=run: run().sent_p50, 2e6)
        yield Benchmark(f"buy() -> committed -> venue, p99 {at}", lambda run=run: run().sent_p99)
        yield Benchmark(f"fill at the venue -> callback, p50 {at}", lambda run=run: run().reported_p50)
    yield Benchmark("an account with 10,000 open orders, reconciled after lost reports", reconcile, 10e9)
    name = "an order with its fill, 64 in flight, embedded PostgreSQL: elapsed"
    yield Benchmark(name, lambda: load(None).elapsed, 1e6)


def _gateway_rows() -> Iterator[Benchmark]:
    cost = cache(measure)
    name = "meltica serve with the default config"
    yield Benchmark(f"{name} until it trades, first start", lambda: cost().first_start * 1e9, 15e9)
    yield Benchmark(f"{name} until it trades, second start", lambda: cost().second_start * 1e9, 3e9)
    yield Benchmark(f"{name}, without PostgreSQL", lambda: cost().idle_rss, unit="MiB", budget=90)
    yield Benchmark("memory of an idle instance, thread host", bytes_per("instance"), unit="bytes")
    yield Benchmark("memory of one more symbol of an instance: ticker", bytes_per("symbol"), unit="bytes")


def _start_up_rows() -> Iterator[Benchmark]:
    shipped = Path(__file__).parents[1] / "strategies"
    lambda_file = (
        "import sys; from meltica.lambdas import config, loader; "
        "config.load_config(loader.load(sys.argv[1]).Config, {})"
    )
    yield Benchmark("whole process: python -c pass", process("-c", "pass"))
    yield Benchmark("whole process: import meltica", process("-c", "import meltica"), 100e6)
    loaded = process("-c", lambda_file, str(shipped / "large_trades.py"))
    yield Benchmark("whole process: a lambda file and its Config", loaded, 250e6)
    yield Benchmark("whole process: meltica --help", process("-m", "meltica", "--help"), 200e6)

"""Benchmarks of delivery: events to Python callbacks through queues and host threads."""

import io
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.bench.timing import Empty, median, medians

Mode = Literal["thread", "shared"]


def _trade(n: int) -> bytes:
    return b'{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"61837.63","q":"0.02","T":1,"m":true}' % n


class _Plane:
    """A data plane with instances that subscribe to trades and tickers of one symbol."""

    def __init__(self, mode: Mode, instances: int, on_ticker: Callable[[Any], object] | None = None) -> None:
        core = _core.Core()
        self.producer = core.producer("bench", _core.Codec(BINANCE))
        shared = core.host("shared") if mode == "shared" else None
        self.hosts = [shared] if shared else [core.host("thread") for _ in range(instances)]
        self.instances: list[_core.Instance] = []
        for number in range(instances):
            callbacks: dict[str, Callable[[Any], object]] = {"Trade": Empty().on_trade}
            # In a shared host, the first instance gets each ticker before the others get later events.
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
        """Returns whether an event was dropped."""
        return any(instance.stats()["dropped"] for instance in self.instances)

    def stop(self) -> None:
        """Stops the hosts."""
        for host in self.hosts:
            host.stop()


def callbacks(mode: Mode, instances: int) -> float:
    """Returns the ns per callback with a full queue, including event object, call and statistics.

    A ticker blocks each host until its queue is full. The time is measured on the hosts' threads from this
    ticker to the one that ends the burst.
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

    figure = statistics.median(medians(lambda: (one() / burst / instances for _ in range(bursts))))
    lost = plane.lost()
    plane.stop()
    if lost:
        raise RuntimeError(
            "events were dropped, so the figure would be too low: the burst exceeds the queues"
        )
    return figure


def latency(mode: Mode, instances: int) -> float:
    """Returns the ns from dispatch to callback at 2,000 events/s: the p50 of the instances' statistics."""
    lines = b"".join(b"%d %b\n" % (n * 500_000, _trade(n)) for n in range(1, 401))

    def once() -> float:
        plane = _Plane(mode, instances)
        plane.producer.replay([io.BytesIO(lines)], speed=1.0)
        plane.producer.drain()
        p50 = statistics.median(instance.stats()["latency_ns"]["p50"] for instance in plane.instances)
        plane.stop()
        return p50

    return median(once)


def replay() -> float:
    """Returns the CPU ns per event, on all threads, of a replay of recorded trades into an empty callback."""
    events = 100_000
    frame = b'{"stream":"btcusdt@trade","data":%b}'
    recording = b"".join(b"%d %b\n" % (10**18 + n, frame % _trade(n)) for n in range(1, events + 1))

    def once() -> float:
        core = _core.Core()
        producer, host = core.producer("bench", _core.Codec(BINANCE)), core.host("shared", clock="event")
        instance = host.add(
            "bench",
            callbacks={"Trade": Empty().on_trade},
            routes=[("bench", "Trade", None)],
            policies={"Trade": "block"},
        )
        instance.start()
        started = time.process_time_ns()
        producer.replay([io.BytesIO(recording)])
        producer.drain()
        spent = time.process_time_ns() - started
        host.stop()
        return spent / events

    return median(once)

"""The core as a gateway uses it: watched routes, restarted sources, exported histograms."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meltica import _core
from meltica._core import HISTOGRAM_BOUNDS_NS, Codec, Core
from meltica.adapters import registry
from meltica.adapters.base import Adapter
from meltica.errors import ConfigError

KINDS = ("Trade", "BookSnapshot")


def recorded(number: int) -> dict[str, Any]:
    """A recorded trade."""
    trade = {"tradeId": str(number), "price": "1", "quantity": "1"}
    return {
        "type": "Trade",
        "provider": "binance",
        "symbol": "BTC-USDT",
        "ingestTs": f"2026-01-01T00:00:0{number}Z",
        "payload": trade,
    }


class Looping:
    """A recording in a loop at full speed, on its own thread."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.adapter: Adapter = registry.adapter("replay").configure({**settings, "loop": True})
        self.core = Core()
        codec = self.adapter.codec()
        self.producer = self.core.producer("binance", Codec(codec) if codec is not None else None)
        self.adapter.start({"binance": self.producer})
        self.errors: list[Exception] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.adapter.run()
        except Exception as error:
            self.errors.append(error)

    def stop(self) -> None:
        self.adapter.stop()
        if self.thread.ident is not None:
            self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture(name="looping")
def _looping() -> Iterator[Looping]:
    looping = Looping({"sample": True})
    yield looping
    looping.stop()


def test_a_looping_replay_repeats_until_it_is_stopped(looping: Looping) -> None:
    trades: list[Any] = []
    reasons: list[str] = []
    twice, noticed = threading.Event(), threading.Event()

    def on_trade(trade: Any) -> None:
        trades.append(trade)
        if len(trades) > 1 and trade.trade_id == trades[0].trade_id:
            twice.set()

    def on_stale(stale: Any) -> None:
        reasons.append(stale.reason)
        noticed.set()

    host = looping.core.host("thread")
    instance = host.add(
        "watcher",
        callbacks={"Trade": on_trade, "MarketStale": on_stale},
        routes=[("binance", kind, None) for kind in KINDS],
        policies=dict.fromkeys(KINDS, "block"),
    )
    instance.start()
    before = time.time_ns()
    looping.thread.start()
    assert twice.wait(60)
    looping.stop()
    # A later notice replaces one that waits, so the reader may reach it only after the last loop.
    assert noticed.wait(30)
    assert host.stop(30)
    assert set(reasons) == {"disconnected"}
    assert all(trade.received_time >= before for trade in trades), "the received time is the present"
    assert looping.producer.stats()["duplicates"] == 0


def test_a_stop_before_the_run_ends_it(looping: Looping) -> None:
    looping.adapter.stop()
    looping.thread.start()
    looping.thread.join(30)
    assert not looping.thread.is_alive()
    assert looping.producer.stats()["frames"] == 0


@pytest.mark.parametrize("settings", [{}, {"paths": ["a.gz"], "sample": True}])
def test_a_replay_has_one_source(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="either `paths` or `sample: true`"):
        registry.adapter("replay").configure(settings)


def test_counters_survive_a_restart_of_the_provider() -> None:
    core = Core()
    for _ in range(2):
        core.producer("alias").publish("Extension", "x", {"name": "x", "data": None})
    assert core.stats()["providers"]["alias"]["unwanted"] == 2


class Watcher:
    """The changes that a watcher of routes received."""

    def __init__(self, core: Core) -> None:
        self.changes: list[tuple[list[tuple[str, str, str | None]], list[tuple[str, str, str | None]]]] = []
        core.watch_routes(lambda _version, on, off: self.changes.append((on, off)))


def _add(core: Core, name: str, *symbols: str) -> tuple[_core.Host, _core.Instance]:
    host = core.host("thread")
    instance = host.add(
        name, callbacks={"Trade": print}, routes=[("venue", "Trade", symbol) for symbol in symbols]
    )
    instance.start()
    return host, instance


def test_an_extension_may_have_no_data() -> None:
    core = Core()
    events: list[Any] = []
    host = core.host("thread")
    host.add("listener", callbacks={"Extension": events.append}, routes=[("a", "Extension", None)]).start()
    producer = core.producer("a")
    assert producer.publish("Extension", "x", {"name": "x", "data": None})
    assert producer.drain(30)
    assert host.stop(30)
    assert _core.Event.from_dict(events[0].to_dict()) == events[0]


def test_watchers_get_the_smallest_difference() -> None:
    core = Core()
    watcher = Watcher(core)
    first, _ = _add(core, "first", "BTC-USDT")
    second, _ = _add(core, "second", "BTC-USDT", "ETH-USDT")
    bitcoin, ether = ("venue", "Trade", "BTC-USDT"), ("venue", "Trade", "ETH-USDT")
    assert core.routes() == [bitcoin, ether]
    assert first.stop()
    assert second.stop()
    assert core.routes() == []
    assert watcher.changes == [([bitcoin], []), ([ether], []), ([], [bitcoin, ether])]
    core.watch_routes(None)
    third, _ = _add(core, "third", "BTC-USDT")
    assert third.stop()
    assert len(watcher.changes) == 3


def test_histograms_agree_with_the_summaries(looping: Looping) -> None:
    host = looping.core.host("thread")
    delivered = threading.Semaphore(0)
    instance = host.add(
        "counter",
        callbacks={"Trade": lambda _trade: delivered.release()},
        routes=[("binance", "Trade", None)],
        policies={"Trade": "block"},
    )
    instance.start()
    looping.thread.start()
    for _ in range(1000):
        assert delivered.acquire(timeout=30)
    looping.stop()
    assert host.stop(30)
    for name, key in (("latency", "latency_ns"), ("callback", "callback_ns")):
        [(counts, total, number)] = instance.histograms()[name].values()
        summary = instance.stats()[key]
        assert len(counts) == len(HISTOGRAM_BOUNDS_NS)
        assert counts == sorted(counts)
        assert counts[-1] == number == summary["count"]
        assert total // summary["count"] == summary["mean"]
    assert looping.core.histograms()["binance"][0][-1] == looping.producer.stats()["decode_ns"]["count"]


@pytest.mark.parametrize(("form", "capacity"), [("frames", 4), ("frames", 5), ("frames", 7), ("events", 4)])
def test_a_stop_ends_a_loop_that_waits_for_a_slow_reader(form: str, capacity: int, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(json.dumps(recorded(number)) + "\n" for number in range(3)))
    looping = Looping({"sample": True} if form == "frames" else {"paths": [events]})
    entered, release = threading.Event(), threading.Event()
    host = looping.core.host("thread")

    def on_trade(_trade: Any) -> None:
        entered.set()
        assert release.wait(30)

    instance = host.add(
        "slow",
        callbacks={"Trade": on_trade},
        routes=[("binance", kind, None) for kind in KINDS],
        policies=dict.fromkeys(KINDS, "block"),
        capacity=capacity,
    )
    instance.start()
    looping.thread.start()
    assert entered.wait(30)
    looping.stop()
    release.set()
    assert host.stop(30)
    assert looping.errors == []

"""The watch finds stuck callbacks and ended instances by itself; it needs no event loop that runs."""

import select
import threading

from meltica import _core

TRADES = ("p", "Trade", "BTC-USDT")
PATIENCE = 20.0


def wait_change(watch: _core.Watch) -> None:
    """Waits until the watch reports a change."""
    readable, _, _ = select.select([watch], [], [], PATIENCE)
    assert readable, "the watch reports nothing"
    watch.clear()


def test_the_watch_reports_each_change_without_an_event_loop() -> None:
    core = _core.Core()
    watch = _core.Watch(core)
    watch.supervise(0.0)
    producer, host, gate = core.producer("p"), core.host("thread"), threading.Event()
    host.add("x", callbacks={"Trade": lambda _: gate.wait(PATIENCE)}, routes=[TRADES]).start()
    assert host.blocked is None
    producer.publish("Trade", "BTC-USDT", {"tradeId": "1", "price": "1", "quantity": "1"})
    wait_change(watch)
    assert host.blocked == "x"
    assert select.select([watch], [], [], 0) == ([], [], []), "reported once"
    gate.set()
    wait_change(watch)
    assert host.blocked is None
    assert host.stop()
    wait_change(watch)
    watch.close()


def test_the_watch_reports_nothing_before_it_supervises() -> None:
    core = _core.Core()
    watch = _core.Watch(core)
    host = core.host("thread")
    host.add("x", callbacks={}, routes=[TRADES]).start()
    assert host.stop()
    watch.close()
    assert select.select([watch], [], [], 0) == ([], [], [])

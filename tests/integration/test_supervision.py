"""The watch finds stuck callbacks and ended instances by itself; it needs no event loop that runs."""

import json
import select
import threading
from pathlib import Path

from meltica import _core
from meltica.persistence.postgres.server import wait_until

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


def test_the_watch_logs_a_stuck_callback_while_the_event_loop_does_not_respond(tmp_path: Path) -> None:
    path = tmp_path / "watch.log"
    core = _core.Core()
    watch = _core.Watch(core)
    watch.log_to("json", path)
    watch.supervise(0.0)
    producer, host, gate = core.producer("p"), core.host("thread"), threading.Event()
    host.add("x", callbacks={"Trade": lambda _: gate.wait(PATIENCE)}, routes=[TRADES]).start()
    producer.publish("Trade", "BTC-USDT", {"tradeId": "1", "price": "1", "quantity": "1"})
    assert wait_until(path.exists, PATIENCE)
    wait_change(watch)
    gate.set()
    assert host.stop()
    watch.close()
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert line["level"] == "error"
    assert line["message"].startswith("lambda x is stuck: a callback has been running for ")
    assert "the event loop does not respond" in line["message"]


def test_the_watch_reports_nothing_before_it_supervises() -> None:
    core = _core.Core()
    watch = _core.Watch(core)
    host = core.host("thread")
    host.add("x", callbacks={}, routes=[TRADES]).start()
    assert host.stop()
    watch.close()
    assert select.select([watch], [], [], 0) == ([], [], [])

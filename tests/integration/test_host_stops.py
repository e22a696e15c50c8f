"""Stops of instances: interrupts that hit one callback only, final states, and waits that can be ended."""

import contextlib
import functools
import io
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meltica import _core

TRADES = ("p", "Trade", "BTC-USDT")
PATIENCE = 20.0


def trade(producer: _core.Producer, n: int = 1) -> None:
    """Publishes one trade."""
    producer.publish("Trade", "BTC-USDT", {"tradeId": str(n), "price": "1", "quantity": "1"})


class Blocked:
    """A call that blocks in C, with no bytecode after it that would raise an interrupt."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        read, self._write = os.pipe()
        self._file = os.fdopen(read, "rb")

    def on_trade(self, _trade: Any) -> bool:
        """Blocks until `release`."""
        self.entered.set()
        return b"x" in self._file

    def call(self) -> bool:
        """Blocks until `release`."""
        self.entered.set()
        return b"x" in self._file

    def release(self) -> None:
        """Ends the call."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

    def close(self) -> None:
        """Ends the call and closes the pipe."""
        self.release()
        self._file.close()


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    """A call that the test releases."""
    call = Blocked()
    yield call
    call.close()


class Finalized:
    """An object whose finalizer ends only by an exception, which Python drops."""

    def __init__(self, entered: threading.Event) -> None:
        self._entered = entered

    def __del__(self) -> None:
        self._entered.set()
        while True:
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_repeated() -> None:
    host = _core.Core().host("thread")
    errors: list[BaseException] = []
    entered = threading.Event()

    def loop() -> None:
        Finalized(entered)
        while True:
            pass

    instance = host.add("a", callbacks={}, routes=[], on_error=lambda _callback, error: errors.append(error))
    instance.start()
    assert instance.post(loop)
    assert entered.wait(PATIENCE)
    # A second between the first and the last interrupt leaves room for a slow machine.
    assert instance.stop(1.0)
    assert [type(error) for error in errors] == [_core.LambdaStopped]
    assert host.stop()


@pytest.mark.parametrize("where", ["event", "timer", "start", "stop", "error"])
def test_an_interrupt_reaches_only_the_callback_it_was_meant_for(where: str, blocked: Blocked) -> None:
    core = _core.Core()
    host = core.host("shared")
    producer = core.producer("p")
    received: list[int] = []
    errors: list[str] = []
    stopped: list[str] = []

    def raises(_trade: Any) -> None:
        raise ValueError("on purpose")

    def on_error(_callback: str, _error: BaseException) -> bool:
        return blocked.call() if where == "error" else False

    first: dict[str, Callable[[Any], object]] = {"event": blocked.on_trade, "error": raises}
    target = host.add(
        "target",
        callbacks={"Trade": first.get(where, lambda _: None)},
        routes=[TRADES],
        on_start=blocked.call if where == "start" else None,
        on_stop=blocked.call if where == "stop" else lambda: stopped.append("target"),
        on_error=on_error if where == "error" else None,
    )
    innocent = host.add(
        "innocent",
        callbacks={"Trade": lambda t: received.append(int(t.trade_id))},
        routes=[TRADES],
        on_error=lambda callback, error: errors.append(f"{callback}: {error!r}"),
    )
    innocent.start()
    starting = threading.Thread(target=lambda: _quietly(target.start))
    starting.start()
    if where != "start":
        starting.join(PATIENCE)
    if where == "timer":
        target.every(0.001, blocked.call)
    if where in ("event", "error"):
        trade(producer)
    if where != "stop":
        assert blocked.entered.wait(PATIENCE)
    assert target.stop(0.05) is False, "the call is in C, where an interrupt cannot end it"
    assert blocked.entered.wait(PATIENCE)
    for n in range(2, 12):
        trade(producer, n)
    blocked.release()
    starting.join(PATIENCE)
    assert producer.drain(PATIENCE)
    assert host.stop(PATIENCE) is False, "the target remains stuck"
    assert errors == []
    assert received[-10:] == list(range(2, 12))
    assert innocent.stats()["errors"] == 0
    assert innocent.state == "stopped"
    assert stopped == ([] if where == "stop" else ["target"])


def _quietly(call: Callable[[], object]) -> None:
    with contextlib.suppress(_core.LambdaError, _core.LambdaStopped):
        call()


@pytest.mark.untraced
def test_random_stops_end_in_a_final_state_and_leave_neighbours_alone() -> None:
    core = _core.Core()
    host = core.host("shared")
    producer = core.producer("p")
    received: list[int] = []
    innocent = host.add(
        "innocent",
        callbacks={"Trade": lambda t: received.append(int(t.trade_id))},
        routes=[TRADES],
        policies={"Trade": "block"},
        capacity=8192,
    )
    innocent.start()
    dice = random.Random(7)
    number = 0
    for round_ in range(300):
        naps = [dice.choice((0.0, 0.0002, 0.0008)) for _ in range(3)]
        instance = host.add(
            f"i{round_}",
            callbacks={"Trade": functools.partial(_nap, naps[0])},
            routes=[TRADES],
            on_start=functools.partial(time.sleep, naps[1]),
            on_stop=functools.partial(time.sleep, naps[2]),
        )
        starting = threading.Thread(target=functools.partial(_quietly, instance.start))
        starting.start()
        for _ in range(3):
            number += 1
            trade(producer, number)
        stops = [
            threading.Thread(target=functools.partial(instance.stop, dice.choice((0.0, 0.0002, 0.001))))
            for _ in range(2)
        ]
        for stop in stops:
            stop.start()
        for thread in (*stops, starting):
            thread.join(PATIENCE)
        assert producer.drain(PATIENCE)
        assert instance.state in ("stopped", "failed", "stuck"), f"round {round_}"
    assert innocent.stats()["errors"] == 0
    assert received == list(range(1, number + 1))
    assert innocent.stop(PATIENCE) is True


def _nap(seconds: float, _trade: Any) -> None:
    time.sleep(seconds)


class Lockstep:
    """A replay in lockstep whose trades are handled by `on_trade`."""

    def __init__(self, on_trade: Callable[[Any], object], **options: Any) -> None:
        self.core = _core.Core()
        self.host = self.core.host("thread", clock="event")
        self.instance = self.host.add("slow", callbacks={"Trade": on_trade}, routes=[TRADES], **options)
        self.other = self.core.host("thread", clock="event")
        listens = self.other.add(
            "listens", callbacks={"Extension": lambda _: None}, routes=[("meltica", "Extension", None)]
        )
        self.instance.start()
        listens.start()
        self.producer = self.core.producer("p")


def test_stop_ends_the_wait_of_a_lockstep_publish(blocked: Blocked) -> None:
    replay = Lockstep(blocked.on_trade)
    publishing = threading.Thread(target=lambda: trade(replay.producer))
    publishing.start()
    assert blocked.entered.wait(PATIENCE)
    replay.producer.stop()
    publishing.join(PATIENCE)
    assert not publishing.is_alive()
    blocked.release()
    assert replay.host.stop(PATIENCE)
    assert replay.other.stop(PATIENCE)


def test_stop_ends_the_wait_of_a_lockstep_replay_and_of_a_drain(blocked: Blocked) -> None:
    from meltica.adapters.binance.codec import BINANCE

    core = _core.Core()
    host = core.host("thread", clock="event")
    routes = [("binance", "Trade", None), ("meltica", "Extension", None)]
    host.add("slow", callbacks={"Trade": blocked.on_trade}, routes=routes).start()
    producer = core.producer("binance", _core.Codec(BINANCE))
    frame = b'1700000000000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}'
    results: list[object] = []

    def play() -> None:
        producer.replay([io.BytesIO(frame)])
        results.append(producer.drain())

    playing = threading.Thread(target=play)
    playing.start()
    assert blocked.entered.wait(PATIENCE)
    producer.stop()
    playing.join(PATIENCE)
    assert results == [False], "what was dispatched is not handled yet"
    blocked.release()
    assert producer.drain(PATIENCE) is True
    assert host.stop(PATIENCE)


@pytest.mark.parametrize("wait", ["lockstep", "room", "start", "drain"])
def test_ctrl_c_ends_every_wait(wait: str) -> None:
    program = f"""
import os, signal, sys, threading, time
from meltica import _core
wait = {wait!r}
core = _core.Core()
host = core.host("thread", clock="event" if wait == "lockstep" else "wall")
entered, free = threading.Event(), threading.Event()

def blocks(*_event):
    entered.set()
    free.wait()

routes = [("p", "Trade", "BTC-USDT")]
if wait == "lockstep":
    routes.append(("meltica", "Extension", None))
instance = host.add(
    "slow", callbacks={{"Trade": blocks}}, routes=routes, capacity=2, policies={{"Trade": "block"}},
    on_start=blocks if wait == "start" else None,
)
producer = core.producer("p")

def interrupt():
    entered.wait()
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    instance.start()
    for n in range(1 if wait == "drain" else 1000):
        producer.publish("Trade", "BTC-USDT", {{"tradeId": str(n), "price": "1", "quantity": "1"}})
    producer.drain()
except KeyboardInterrupt:
    print("interrupted", flush=True)
os._exit(0)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == "interrupted", result.stderr


def test_waits_of_a_host_for_itself_are_refused() -> None:
    faults: list[str] = []
    core = _core.Core()
    producer = core.producer("p")

    def on_trade(_trade: Any) -> None:
        for act in (
            lambda: [instance.emit("echo", "{}") for _ in range(100)],
            lambda: [trade(producer, n) for n in range(100)],
            lambda: producer.drain(),
        ):
            try:
                act()
            except (_core.LambdaError, ValueError) as error:
                faults.append(f"{type(error).__name__}: {error}")

    host = core.host("thread")
    instance = host.add(
        "own",
        callbacks={"Trade": on_trade},
        routes=[("p", "Trade", "BTC-USDT"), ("meltica", "Extension", None)],
        policies={"Trade": "block", "Extension": "block"},
        capacity=8,
        max_errors=1,
    )
    instance.start()
    trade(producer)
    deadline = time.monotonic() + PATIENCE
    while len(faults) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert instance.stop(PATIENCE) is True
    assert [fault.split(":")[0] for fault in faults[:3]] == ["LambdaError"] * 3, faults
    assert "extension not published: a queue that blocks is full" in faults[0]
    assert "publish failed" in faults[1]
    assert "drain failed" in faults[2]
    assert host.stop(PATIENCE)


def test_two_hosts_that_emit_to_each_other_never_wait_for_each_other() -> None:
    core = _core.Core()
    refused = [0, 0]
    hosts = [core.host("thread") for _ in range(2)]
    instances: list[_core.Instance] = []
    start = threading.Barrier(2)

    def flood(number: int) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            start.wait(PATIENCE)
        for _ in range(200):
            try:
                instances[number].emit(f"from-{number}", "{}")
            except _core.LambdaError:
                refused[number] += 1

    for number, host in enumerate(hosts):
        instances.append(
            host.add(
                f"i{number}",
                callbacks={"Trade": lambda _, number=number: flood(number), "Extension": lambda _: None},
                routes=[TRADES, ("meltica", "Extension", None)],
                policies={"Extension": "block"},
                capacity=8,
            )
        )
        instances[number].start()
    producer = core.producer("p")
    trade(producer)
    assert producer.drain(PATIENCE), "no host waits for the other"
    assert all(host.stop(PATIENCE) for host in hosts)
    assert all(count > 0 for count in refused)


def test_ended_hosts_cost_a_publish_nothing() -> None:
    core = _core.Core()
    producer = core.producer("p")
    kept: list[object] = []
    for n in range(200):
        host = core.host("thread", clock="event")
        instance = host.add(f"i{n}", callbacks={}, routes=[TRADES])
        instance.start()
        assert core.stats()["hosts"] == 1
        trade(producer, n)
        assert host.stop(PATIENCE)
        kept.append((host, instance))
    assert core.stats()["hosts"] == 0


def test_a_host_whose_thread_fails_fails_its_instances_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises() -> int:
        raise OSError("on purpose")

    core = _core.Core()
    host, producer = core.host("shared"), core.producer("p")
    reserved = core.stats()["reserved_bytes"]
    with monkeypatch.context() as patch:
        patch.setattr(threading, "get_ident", raises)
        instance = host.add("one", callbacks={}, routes=[TRADES])
        with pytest.raises(_core.LambdaError, match="instance not started: the host's thread has ended"):
            instance.start()
    assert instance.state == "failed"
    assert instance.stats()["last_error"] in (
        "the host's thread failed: OSError: on purpose",
        "the host's thread has ended",
    )
    assert producer.drain(PATIENCE), "nothing waits for the host"
    assert instance.stop(PATIENCE) is True
    assert host.stop(PATIENCE)
    stats = core.stats()
    assert (stats["hosts"], stats["reserved_bytes"], core.routes()) == (0, reserved, [])

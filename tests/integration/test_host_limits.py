"""What one callback can do neither to its host nor to those who wait for it: errors, timers, load."""

import threading
import traceback
import weakref
from typing import Any, Literal

import pytest

from meltica import _core

PATIENCE = 20.0
TRADE = {"tradeId": "1", "price": "1", "quantity": "1"}
ROUTES = [("p", "Trade", "BTC-USDT")]


def test_a_callback_that_raises_lambda_stopped_reaches_the_limit_of_errors() -> None:
    core = _core.Core()
    producer = core.producer("p")
    host = core.host("thread")
    ended = threading.Event()

    def fail(_: object) -> None:
        raise _core.LambdaStopped("by itself")

    instance = host.add("i", callbacks={"Trade": fail}, routes=ROUTES, max_errors=5, on_stop=ended.set)
    instance.start()
    for _ in range(100):
        producer.publish("Trade", "BTC-USDT", TRADE)
    assert ended.wait(PATIENCE)
    assert host.stop(PATIENCE)
    assert (instance.state, instance.stats()["errors"]) == ("failed", 5)


def test_on_error_receives_the_traceback() -> None:
    core = _core.Core()
    host = core.host("thread")
    frames: list[str] = []

    def on_error(_: str, error: BaseException) -> None:
        frames.extend(frame.name for frame in traceback.extract_tb(error.__traceback__))

    def fail() -> None:
        raise ValueError("on purpose")

    instance = host.add("i", callbacks={"Trade": lambda _: None}, routes=ROUTES, on_error=on_error)
    instance.start()
    assert instance.post(fail)
    assert host.stop()
    assert frames == ["fail"]


class Beat:
    """A function of a timer."""

    def __call__(self) -> None:
        """Does nothing."""


@pytest.mark.parametrize("clock", ["wall", "event"])
@pytest.mark.parametrize("taken", [False, True])
def test_a_cancelled_timer_leaves_nothing(clock: Literal["wall", "event"], taken: bool) -> None:
    count = 1000
    core = _core.Core()
    host = core.host("shared", clock=clock)
    instance = host.add("i", callbacks={"Trade": lambda _: None}, routes=ROUTES)
    instance.start()
    gone = threading.Semaphore(0)
    timers: list[_core.Timer] = []
    for _ in range(count):
        beat = Beat()
        weakref.finalize(beat, gone.release)
        timers.append(instance.every(1e6, beat))
        if not taken:
            timers.pop().cancel()
    if taken:
        # The host has taken over the timers requested before its next posted call.
        called = threading.Event()
        instance.post(called.set)
        assert called.wait(PATIENCE)
    for timer in timers:
        timer.cancel()
        timer.cancel()
    for _ in range(count - 1):  # the loop variable holds the last one
        assert gone.acquire(timeout=PATIENCE)
    assert host.stop()


@pytest.mark.parametrize("mode", ["thread", "shared"])
def test_a_drain_ends_while_events_keep_coming(mode: Literal["thread", "shared"]) -> None:
    core = _core.Core()
    producer = core.producer("p")
    host = core.host(mode)
    handled: list[int] = []
    later: list[tuple[int, int]] = []
    drained = threading.Event()

    def feed(event: Any) -> None:
        handled.append(event.seq)
        # Each event is followed by two: the queue is never empty.
        if not drained.is_set():
            for _ in range(2):
                producer.publish("Trade", "BTC-USDT", TRADE)

    instance = host.add("i", callbacks={"Trade": feed}, routes=ROUTES, capacity=8)
    instance.start()
    producer.publish("Trade", "BTC-USDT", TRADE)
    for _ in range(5):
        dispatched = core.dispatched
        assert producer.drain(PATIENCE)
        later.append((dispatched, len(handled)))
    drained.set()
    assert producer.drain(PATIENCE)
    for dispatched, position in later:
        assert all(seq > dispatched for seq in handled[position:])
    assert host.stop()

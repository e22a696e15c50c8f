"""Functions posted to an instance have a share of each round, a limit, and an end."""

import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest

from meltica import _core

LIMIT = 65_536
PATIENCE = 20.0
MODES = pytest.mark.parametrize("mode", ["thread", "shared"])
Mode = Literal["thread", "shared"]


class Plane:
    """A host and a provider; instances that count their trades."""

    def __init__(self, mode: Mode = "shared") -> None:
        self.core = _core.Core()
        self.producer = self.core.producer("p")
        self.host = self.core.host(mode)

    def add(self, id: str, on_trade: Callable[[Any], object], **options: Any) -> _core.Instance:
        """Adds an instance that receives the trades of its own symbol."""
        routes = [("p", "Trade", f"{id.upper()}-USDT")]
        return self.host.add(id, callbacks={"Trade": on_trade}, routes=routes, **options)

    def trade(self, id: str) -> None:
        """Publishes a trade for an instance."""
        self.producer.publish("Trade", f"{id.upper()}-USDT", {"tradeId": "1", "price": "1", "quantity": "1"})


class Hold:
    """A function that blocks its host until `release`."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> None:
        """Blocks."""
        self.entered.set()
        assert self.released.wait(PATIENCE)

    def release(self) -> None:
        """Ends the block."""
        self.released.set()

    def post_to(self, instance: _core.Instance) -> None:
        """Blocks the host of an instance."""
        assert instance.post(self)
        assert self.entered.wait(PATIENCE)


def discarded(instance: _core.Instance) -> int:
    """Returns how many functions were accepted and not called."""
    return instance.stats()["discarded_posts"]


@MODES
def test_a_function_that_posts_itself_ends_with_its_instance(mode: Mode) -> None:
    plane = Plane(mode)
    calls = [0]
    got = threading.Event()
    refused = threading.Event()
    instance = plane.add("loop", lambda _: got.set())

    def again() -> None:
        calls[0] += 1
        if not instance.post(again):
            refused.set()

    instance.start()
    assert instance.post(again)
    plane.trade("loop")
    assert got.wait(PATIENCE)
    assert instance.stop(PATIENCE)
    assert (instance.state, refused.is_set(), discarded(instance)) == ("stopped", True, 0)
    before = calls[0]
    assert plane.host.stop()
    assert calls[0] == before


def test_posted_functions_take_no_share_of_another_instance() -> None:
    plane = Plane()
    log: list[str] = []
    innocent = plane.add("innocent", lambda _: log.append("event"))
    hostile = plane.add("hostile", lambda _: None)
    spent = threading.Event()
    ended = threading.Event()
    innocent.start()
    hostile.start()

    def again() -> None:
        log.append("posted")
        spent.wait(0.003)
        if log.count("event") < 60 and len(log) < 1000:
            hostile.post(again)
        else:
            ended.set()

    hold = Hold()
    hold.post_to(hostile)
    for _ in range(60):
        plane.trade("innocent")
    hostile.post(again)
    hold.release()
    assert ended.wait(PATIENCE)
    assert plane.host.stop()
    # Each call uses up the share of its instance, so at most one comes in a round.
    assert log.count("event") == 60
    assert log.count("posted") < 20


def test_a_member_that_stops_with_a_backlog_delays_no_other() -> None:
    plane = Plane()
    rest: list[int] = []
    at: list[int] = []
    never = threading.Event()
    innocent = plane.add("innocent", lambda _: at.append(len(rest)))
    ending = plane.add("ending", lambda _: None, on_stop=lambda: rest.append(-1))
    innocent.start()
    ending.start()

    def slow() -> None:
        never.wait(0.003)
        if ending.state != "stopping":
            ending.post(slow)
            return
        if not rest:
            plane.trade("innocent")
        rest.append(len(rest))

    hold = Hold()
    hold.post_to(ending)
    for _ in range(50):
        assert ending.post(slow)
    hold.release()
    assert ending.stop(PATIENCE)
    assert at
    assert at[0] < 50
    assert (rest, ending.state, discarded(ending)) == ([*range(50), -1], "stopped", 0)
    assert plane.host.stop()


def test_more_waiting_functions_than_the_limit_halt_the_instance() -> None:
    plane = Plane("thread")
    calls: list[int] = []
    events: list[int] = []
    ended = threading.Event()
    instance = plane.add("full", lambda event: events.append(event.seq), on_stop=ended.set)
    instance.start()
    hold = Hold()
    hold.post_to(instance)
    assert all(instance.post(lambda n=n: calls.append(n)) for n in range(LIMIT))
    assert not instance.post(lambda: calls.append(-1))
    plane.trade("full")
    hold.release()
    assert ended.wait(PATIENCE)
    assert not instance.post(lambda: calls.append(-2))
    assert plane.host.stop(PATIENCE)
    assert (instance.state, calls, events) == ("failed", list(range(LIMIT)), [])
    assert "more than 65536 posted functions were waiting" in instance.stats()["last_error"]
    assert discarded(instance) == 0


def test_the_limit_holds_before_the_start() -> None:
    plane = Plane("thread")
    calls: list[object] = []
    ended = threading.Event()
    instance = plane.add("early", calls.append, on_start=lambda: calls.append("start"), on_stop=ended.set)
    assert all(instance.post(lambda n=n: calls.append(n)) for n in range(LIMIT))
    assert not instance.post(lambda: calls.append(-1))
    instance.start()
    assert ended.wait(PATIENCE)
    assert plane.host.stop(PATIENCE)
    assert (instance.state, calls) == ("failed", ["start", *range(LIMIT)])


def test_a_stuck_instance_calls_no_posted_function() -> None:
    plane = Plane("thread")
    calls: list[str] = []
    ended = threading.Event()
    instance = plane.add("stuck", lambda _: None, on_stop=ended.set)
    instance.start()
    hold = Hold()
    hold.post_to(instance)
    for _ in range(5):
        assert instance.post(lambda: calls.append("late"))
    assert not instance.stop(0.0)
    assert not instance.post(lambda: calls.append("refused"))
    hold.release()
    assert ended.wait(PATIENCE)
    plane.host.stop()
    assert (instance.state, calls, discarded(instance)) == ("stuck", [], 5)


def test_an_overdue_stop_fails_an_instance_with_waiting_functions() -> None:
    plane = Plane("thread")
    calls: list[str] = []
    entered = threading.Event()
    instance = plane.add("busy", lambda _: None)
    instance.start()

    def loop() -> None:
        entered.set()
        while True:
            pass

    assert instance.post(loop)
    assert entered.wait(PATIENCE)
    for _ in range(5):
        assert instance.post(lambda: calls.append("late"))
    # Its patience after the interrupt is a second, which a busy machine may exceed.
    instance.stop(0.0)
    plane.host.stop(PATIENCE)
    assert (calls, discarded(instance)) == ([], 5)
    assert instance.state in ("failed", "stuck")
    assert instance.state == "stuck" or "5 posted functions were not called" in instance.stats()["last_error"]


def test_a_function_is_refused_from_the_stop_on() -> None:
    plane = Plane("thread")
    accepted: dict[str, bool] = {}
    instance = plane.add("ends", lambda _: None, on_stop=lambda: put("on_stop"))

    def put(when: str) -> None:
        accepted[when] = instance.post(lambda: accepted.setdefault("called", True))

    instance.start()
    hold = Hold()
    hold.post_to(instance)
    assert instance.post(lambda: put("before"))
    hold.release()
    assert instance.stop(PATIENCE)
    assert instance.state == "stopped"
    assert accepted["on_stop"] is False
    assert plane.host.stop()


def test_the_functions_of_a_start_that_fails_are_counted() -> None:
    plane = Plane("thread")

    def fail() -> None:
        raise ValueError("on purpose")

    instance = plane.add("fails", lambda _: None, on_start=fail)
    assert instance.post(lambda: None)
    with pytest.raises(ValueError, match="on purpose"):
        instance.start()
    assert (instance.state, discarded(instance)) == ("failed", 1)
    assert not instance.post(lambda: None)
    assert plane.host.stop()

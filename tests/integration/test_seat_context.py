"""What an instance sets for its thread, such as the precision of decimal: others do not have it."""

import contextvars
import decimal
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest

from meltica import _core

PATIENCE = 60.0
TRADE = {"tradeId": "1", "price": "60123.45", "quantity": "1"}
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")
EXACT = decimal.Decimal("60129.462345")
Mode = Literal["thread", "shared"]
Entry = Literal["on_start", "callback", "post", "every", "on_error", "on_stop"]


class World:
    """A shared host, whose instances receive the trades of a symbol of their own."""

    def __init__(self, mode: Mode = "shared") -> None:
        self.core = _core.Core()
        self.producer, self.host = self.core.producer("v"), self.core.host(mode)

    def add(self, symbol: str, callback: Callable[[Any], object], **options: Any) -> _core.Instance:
        """Starts an instance."""
        callbacks = {"Trade": callback}
        instance = self.host.add(symbol, callbacks=callbacks, routes=[("v", "Trade", symbol)], **options)
        instance.start()
        return instance

    def trade(self, symbol: str) -> None:
        """Publishes a trade and waits until the host has handled it."""
        self.producer.publish("Trade", symbol, TRADE)
        assert self.producer.drain(PATIENCE)


def pollute(*_: object) -> None:
    """Sets what a thread has once."""
    context = decimal.getcontext()
    context.prec, context.rounding = 4, decimal.ROUND_UP
    context.traps[decimal.InvalidOperation] = False
    decimal.setcontext(context)
    VARIABLE.set("hostile")


def ignore(*_: object) -> None:
    """Does nothing."""


def fail(*_: object) -> None:
    """Raises an error."""
    raise ValueError("on purpose")


def observe(results: list[tuple[decimal.Decimal, str, str]]) -> Callable[[Any], None]:
    """Returns a callback that adds what it finds."""

    def callback(event: Any) -> None:
        product = event.price_decimal * decimal.Decimal("1.0001")
        results.append((product, decimal.getcontext().rounding, VARIABLE.get()))

    return callback


CLEAN = (EXACT, decimal.ROUND_HALF_EVEN, "none")


@pytest.mark.parametrize("entry", ["on_start", "callback", "post", "every", "on_error", "on_stop"])
def test_context_variables_of_an_instance_are_its_own(entry: Entry) -> None:
    world = World()
    results: list[tuple[decimal.Decimal, str, str]] = []
    world.add("INNOCENT", observe(results))
    world.trade("INNOCENT")
    options = {name: pollute for name in ("on_start", "on_error", "on_stop") if name == entry}
    hostile = world.add("HOSTILE", {"callback": pollute, "on_error": fail}.get(entry, ignore), **options)
    if entry == "post":
        assert hostile.post(pollute)
    elif entry == "every":
        hostile.every(1e-3, pollute)
    for _ in range(20):
        world.trade("HOSTILE")
        world.trade("INNOCENT")
    assert hostile.stop(PATIENCE)
    world.trade("INNOCENT")
    world.add("LATER", observe(results))
    world.trade("LATER")
    assert world.host.stop(PATIENCE)
    assert results == [CLEAN] * 23


@pytest.mark.parametrize("mode", ["thread", "shared"])
def test_an_instance_keeps_its_own_context(mode: Mode) -> None:
    world = World(mode)
    results: list[tuple[decimal.Decimal, str, str]] = []
    world.add("OWN", observe(results), on_start=pollute)
    for _ in range(3):
        world.trade("OWN")
        if mode == "shared":
            world.add(f"OTHER-{len(results)}", lambda _: None, on_start=lambda: None)
    assert world.host.stop(PATIENCE)
    assert results == [(decimal.Decimal("6.013E+4"), decimal.ROUND_UP, "hostile")] * 3


def test_what_an_instance_has_set_ends_with_it() -> None:
    class Held:
        pass

    import weakref

    world = World()
    ended: list[str] = []

    def keep() -> None:
        held = Held()
        weakref.finalize(held, ended.append, "held")
        variable: contextvars.ContextVar[Held] = contextvars.ContextVar("variable")
        variable.set(held)

    instance = world.add("A", lambda _: None, on_start=keep)
    assert ended == []
    assert instance.stop(PATIENCE)
    del instance
    assert ended == ["held"]
    assert world.host.stop(PATIENCE)


@pytest.mark.parametrize("which", ["trace", "profile"])
@pytest.mark.parametrize("is_stopped", [True, False])
def test_the_trace_function_of_an_instance_does_not_stay(which: str, is_stopped: bool) -> None:
    set_function, get_function = getattr(sys, f"set{which}"), getattr(sys, f"get{which}")
    world = World()
    found: list[object] = []

    def hook(*_: object) -> Any:
        return hook

    world.add("INNOCENT", lambda _: found.append(get_function()))
    hostile = world.add("HOSTILE", lambda _: set_function(hook))
    world.trade("HOSTILE")
    if is_stopped:
        assert hostile.stop(PATIENCE)
        world.trade("INNOCENT")
        assert found == [None]
    else:
        deadline = time.monotonic() + PATIENCE
        while found[-1:] != [None] and time.monotonic() < deadline:
            world.trade("INNOCENT")
        assert found[-1] is None
    assert world.host.stop(PATIENCE)

"""Exceptions that Python raises at any bytecode of a trading call: nothing is lost."""

import contextlib
import ctypes
import random
import threading
from collections.abc import Generator
from decimal import Decimal

import pytest

from meltica import _core
from meltica.errors import LambdaStopped, OrderRefused
from meltica.model.enums import Side
from meltica.persistence.lock import GatewayLock
from meltica.trading.risk.scopes import GLOBAL
from tests.support.risk import BTC
from tests.support.trading_world import TradingWorld

ROUNDS = 60


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world


def trade(world: TradingWorld, entered: threading.Event) -> None:
    """Places, amends and cancels orders until it is interrupted."""
    while True:
        try:
            order = world.trader.place(Side.BUY, BTC, "0.3", "50")
            if order.client_order_id[-1] in "0123456789abcdefgh":
                world.trader.cancel(order)
        except OrderRefused:
            world.trader.cancel_all()
        entered.set()


def assert_whole(world: TradingWorld) -> None:
    """Checks that each order has its reservation, and that each wanted cancel arrives."""
    desk, risk = world.desk, world.risk
    assert desk.lock.failure is None
    with desk.lock:
        machines = desk.open_machines()
        reservations = risk.reservations.all()
        assert {each.order_id for each in reservations} == {each.record.id for each in machines}
        assert risk.registry.scopes[GLOBAL].open_orders == len(machines)
        held = sum((each.spend for each in reservations), Decimal(0))
        assert risk.registry.held("p", "USDT") == held
        wanted = [each for each in machines if each.record.cancel_wanted]
    world.desk.wake()
    while not all(each.record.state.is_final for each in wanted):
        pass
    for each in machines:
        desk.apply(each, lambda m, now: m.cancel(now))
    while not all(each.record.state.is_final for each in machines):
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_trading_call_is_whole(world: TradingWorld) -> None:
    chance, interrupted = random.Random(1), 0
    core = _core.Core()
    for _ in range(ROUNDS):
        entered = threading.Event()
        raised: list[BaseException] = []

        def note(_name: str, error: BaseException, raised: list[BaseException] = raised) -> None:
            raised.append(error)

        host = core.host("thread")
        instance = host.add("b", callbacks={}, routes=[], on_error=note)
        instance.start()
        instance.post(lambda entered=entered: trade(world, entered))
        assert entered.wait(10)
        assert instance.stop(chance.uniform(0, 0.01)), "the interrupt arrives after the call"
        interrupted += any(isinstance(each, LambdaStopped) for each in raised)
        assert_whole(world)
        assert host.stop()
    assert interrupted > ROUNDS // 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_foreign_exception_inside_a_trading_call_is_noticed(world: TradingWorld) -> None:
    """A strategy may raise exceptions in threads itself: what they break ends trading."""
    chance, broken = random.Random(2), 0
    raised = ctypes.pythonapi.PyThreadState_SetAsyncExc
    for _ in range(300):
        entered = threading.Event()

        def run(entered: threading.Event = entered) -> None:
            with contextlib.suppress(KeyboardInterrupt):
                trade(world, entered)

        thread = threading.Thread(target=run)
        thread.start()
        assert entered.wait(10)
        threading.Event().wait(chance.uniform(0, 0.003))
        for _ in range(100):
            # The interpreter ignores an exception that it raises inside a callback of a weak reference.
            raised(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))
            thread.join(0.1)
            if not thread.is_alive():
                break
        assert not thread.is_alive()
        if world.desk.lock.failure is not None:
            broken += 1
            break
        assert_whole(world)
    assert broken
    assert isinstance(world.desk.lock.failure, KeyboardInterrupt)
    assert world.call(lambda: world.trader.trading).why == "trading_failed"


def test_an_interrupt_that_is_pending_is_raised_before_the_change() -> None:
    core = _core.Core()
    host = core.host("thread")
    other, lock, entered, ended = threading.Lock(), _core.ChangeLock(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def change() -> None:
        try:
            entered.set()
            # Python does not look for exceptions between the two locks.
            with other, lock:
                for _ in range(1000):
                    pass
        except LambdaStopped as error:
            raised.append(error)
        ended.set()

    instance = host.add("b", callbacks={}, routes=[])
    instance.start()
    with other:
        instance.post(change)
        assert entered.wait(10)
        assert not instance.stop(0.05), "it waits for the other lock"
    assert ended.wait(10)
    assert (len(raised), lock.failure) == (1, None)
    host.stop()

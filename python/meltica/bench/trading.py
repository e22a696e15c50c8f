"""Benchmarks of trading: risk, orders on their way to the venue, and reports on their way to the strategy."""

import statistics
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from uuid import uuid4

from meltica.bench.timing import median, medians
from meltica.bench.trading_world import PROVIDER, SYMBOL, TradingWorld
from meltica.errors import OrderRefused
from meltica.model.enums import OrderState, OrderType, Side
from meltica.model.fills import Fill
from meltica.model.trader import Order
from meltica.trading import clock
from meltica.trading.risk.approved import OrderRequest

SWITCH_INTERVAL = 0.0005
"""That of a gateway by default."""
PIECE = 20
"""Orders that are timed together."""
CHUNK = 100
"""Orders that wait for their commit together."""
PATIENCE = 30.0


@contextmanager
def _world() -> Generator[TradingWorld]:
    world = TradingWorld()
    try:
        yield world
    finally:
        world.close()


def buy() -> float:
    """Returns the CPU ns of `buy()` on the calling thread, with every limit at every scope."""
    with _world() as world:
        world.fund()
        return statistics.median(medians(lambda: [_cpu(world.buy) for _ in range(10)]))


def approve() -> float:
    """Returns the CPU ns of an approval on the calling thread, with every limit at every scope."""
    with _world() as world:
        world.fund()

        def once() -> float:
            requests = iter([_request(world) for _ in range(PIECE)])
            now = clock.now()
            return _cpu(lambda: world.risk.approve(next(requests), world.market, now))

        return statistics.median(medians(lambda: [once() for _ in range(10)]))


def report(orders: int = 200) -> float:
    """Returns the CPU ns, on all threads, from a fill at the venue to its callback."""
    with _world() as world:
        world.feed.watch({PROVIDER})
        world.fund()
        filled = threading.Semaphore(0)

        def called(_name: str, _order: Order, fill: Fill | None, _reason: str | None) -> None:
            if fill is not None:
                filled.release()

        world.trader.on_callback = called

        def once() -> float:
            sent = [world.send(world.buy()) for _ in range(orders)]
            started = time.process_time_ns()
            for order in sent:
                world.fill(order)
            for _ in sent:
                if not filled.acquire(timeout=PATIENCE):
                    raise RuntimeError(f"a fill did not reach its callback within {PATIENCE:g} s")
            return (time.process_time_ns() - started) / orders

        return median(once)


def reconcile(orders: int = 10_000) -> float:
    """Returns the elapsed ns until an account with open orders is reconciled after its reports were lost."""
    with _world() as world, world.trade():
        for _ in range(0, orders, CHUNK):
            # An order that waits for longer than half a second is not sent.
            resting = [world.rest() for _ in range(CHUNK)]
            world.wait_for(partial(_answered, resting))
        started = time.perf_counter_ns()
        world.lose_reports()
        world.wait_for(lambda: bool(world.trader.trading))
        return time.perf_counter_ns() - started


def _answered(orders: list[Order]) -> bool:
    return all(order.state is not OrderState.PENDING for order in orders)


def _cpu(work: Callable[[], object]) -> float:
    started = time.thread_time_ns()
    for _ in range(PIECE):
        work()
    return (time.thread_time_ns() - started) / PIECE


def _request(world: TradingWorld) -> OrderRequest:
    return OrderRequest(
        order_id=uuid4(),
        owner=world.owner,
        provider=PROVIDER,
        symbol=SYMBOL,
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        quantity=Decimal("0.001"),
        price=world.price,
    )


@dataclass(frozen=True)
class Load:
    """What was measured under a constant load, in ns."""

    sent_p50: float
    """From `buy()` to the request at the venue; for an order that is too late, to its end."""
    sent_p99: float
    reported_p50: float
    """From the request at the venue, which fills the order, to the callback of the fill."""
    reported_p99: float
    elapsed: float
    """Per filled order, from the first one until the last one."""


def load(rate: int | None, seconds: float = 3.0, in_flight: int = 64) -> Load:
    """Places orders that fill at once: at a rate, or without one as many as `in_flight` allows."""
    switch = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        with _world() as world, world.trade():
            return _Loader(world).run(rate, seconds, in_flight)
    finally:
        sys.setswitchinterval(switch)


class _Loader:
    def __init__(self, world: TradingWorld) -> None:
        self._world = world
        self._sent: list[int] = []
        self._reported: list[int] = []
        self._refused: OrderRefused | None = None
        self._room = threading.Semaphore(0)
        world.trader.on_callback = self._called

    def run(self, rate: int | None, seconds: float, in_flight: int) -> Load:
        """Warms up for a tenth of the time, then measures."""
        self._place_for(rate, seconds / 10, in_flight)
        self._sent.clear()
        self._reported.clear()
        started = time.perf_counter_ns()
        self._place_for(rate, seconds, in_flight)
        elapsed = time.perf_counter_ns() - started
        return Load(
            *_percentiles(self._sent),
            *_percentiles(self._reported),
            elapsed=elapsed / len(self._reported),
        )

    def _place_for(self, rate: int | None, seconds: float, in_flight: int) -> None:
        """Places orders, and waits until all have ended."""
        room = in_flight if rate is None else round(rate * seconds)
        self._room = threading.Semaphore(room)
        started = time.perf_counter()
        number = 0
        while (spent := time.perf_counter() - started) < seconds:
            if rate is not None and number >= spent * rate:
                time.sleep((number + 1) / rate - spent)
            self._take_room()
            self._world.instance.post(self._place)
            number += 1
        for _ in range(room):
            self._take_room()

    def _take_room(self) -> None:
        if self._refused is not None:
            raise self._refused
        if not self._room.acquire(timeout=PATIENCE):
            raise RuntimeError(f"an order did not end within {PATIENCE:g} s")

    def _place(self) -> None:
        try:
            self._world.buy()
        except OrderRefused as refused:
            self._refused = refused
            self._room.release()

    def _called(self, _name: str, order: Order, fill: Fill | None, _reason: str | None) -> None:
        if order.is_open:
            return
        if fill is not None and order.sent_at is not None:
            self._sent.append(order.sent_at - order.requested_at)
            self._reported.append(clock.now() - order.sent_at)
        elif order.ended_at is not None:
            self._sent.append(order.ended_at - order.requested_at)
        self._room.release()


def _percentiles(times: list[int]) -> tuple[float, float]:
    ordered = sorted(times)
    return statistics.median(ordered), ordered[len(ordered) * 99 // 100]

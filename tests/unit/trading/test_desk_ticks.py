"""What a tick of the desk visits, and what it must not miss."""

from dataclasses import replace
from uuid import uuid4

from meltica.model.enums import Mode
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.effects import QueryFills, SendCancel
from meltica.trading.kept_orders import KEPT_FOR
from meltica.trading.positions import Positions
from meltica.trading.risk.risk import Risk
from meltica.trading.state_machine import OrderMachine
from tests.support.calls import count_calls
from tests.support.risk import UNLIMITED, FakeMarket
from tests.unit.trading.orders import SECOND, TIMINGS, order, report


class Ticking:
    """A desk whose clock a test sets."""

    def __init__(self) -> None:
        self.now = 0
        books = Balances(Mode.LIVE)
        risk = Risk(Mode.LIVE, books, UNLIMITED)
        self.desk = Desk({Mode.LIVE: risk}, Positions(), {Mode.LIVE: books}, FakeMarket(), lambda: self.now)

    def rest(self, expires_at: int | None = None) -> OrderMachine:
        """Adds an order that the venue has acknowledged."""
        id = uuid4()
        record = replace(order(), id=id, client_order_id=id.hex, expires_at=expires_at)
        machine = self.desk.open(record, TIMINGS)
        self.desk.apply(machine, lambda m, now: m.committed(now))
        self.desk.apply(machine, lambda m, now: m.sending(now, age=0))
        self.desk.apply(machine, lambda m, now: m.answered(report("ACK"), now))
        return machine

    def tick(self, seconds: float) -> list[object]:
        """Ticks after some seconds; returns what is requested at the venue."""
        self.now += int(seconds * SECOND)
        self.desk.tick()
        return [effect for _, effect in self.desk.take_requests()]


def _calls_of_a_tick(resting: int) -> int:
    ticking = Ticking()
    for _ in range(resting):
        ticking.rest()
    ticking.tick(1)
    return count_calls(ticking.desk.tick)


def test_orders_that_rest_cost_a_tick_nothing() -> None:
    assert _calls_of_a_tick(1000) == _calls_of_a_tick(1)


def test_an_order_that_expires_is_cancelled_after_many_ticks() -> None:
    ticking = Ticking()
    ticking.rest(expires_at=100 * SECOND)
    assert all(ticking.tick(9) == [] for _ in range(11))
    assert ticking.tick(1) == [SendCancel()]


def test_a_fill_that_is_missing_after_the_end_is_queried_however_late() -> None:
    ticking = Ticking()
    machine = ticking.rest()
    ticking.desk.apply(machine, lambda m, now: m.reported(report("CANCELLED", time=2), now))
    assert all(ticking.tick(10) == [] for _ in range(5))
    ticking.desk.apply(machine, lambda m, now: m.reported(report("CANCELLED", 3, time=3), now))
    assert [*ticking.tick(2), *ticking.tick(20)] == [QueryFills(), QueryFills()]


def test_the_symbols_of_an_account_are_those_of_its_kept_orders() -> None:
    ticking = Ticking()

    def cost() -> int:
        return count_calls(lambda: ticking.desk.symbols("p", Mode.LIVE))

    machines = [ticking.rest()]
    calls = cost()
    machines += [ticking.rest() for _ in range(100)]
    assert cost() == calls
    record = machines[0].record
    assert ticking.desk.symbols(record.provider, Mode.LIVE) == {record.symbol}
    assert ticking.desk.symbols("other", Mode.LIVE) == set()
    for machine in machines:
        ticking.desk.apply(machine, lambda m, now: m.reported(report("CANCELLED", time=2), now))
    ticking.tick(1)
    assert ticking.desk.symbols(record.provider, Mode.LIVE) == {record.symbol}
    ticking.tick(KEPT_FOR / SECOND)
    assert ticking.desk.symbols(record.provider, Mode.LIVE) == set()
    assert ticking.desk.find(record.id) is None
